"""What the model goes by: the rules of the design, each of which can be broken, and how far it is explored.

Promises: ``Rules()`` is the design; ``replace(Rules(), one=False)`` is a mutation of it that must not hold.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """The design. Each field is a rule that something in the code keeps; False breaks it."""

    # the gate
    gate_asks_for_attempt: bool = True
    gate_asks_for_suppression: bool = True  # False: whoever feeds asks
    gate_asks_for_hold: bool = True  # held_reason and pulse of the installation
    claim_comes_before_sending: bool = True
    answered_grant_is_not_recognised: bool = True
    """After a lost answer a process takes the rows it owns for granted; but only those that no job has been told of."""

    # the outcome writer
    outcome_asks_for_attempt: bool = True

    # reconciler, feeds and belt
    lost_claim_becomes_unknown: bool = True  # False: due again
    crash_leaves_claims: bool = True  # False: outcomes are acknowledged unwritten, and claims of a crash are due again
    lease_outlives_batch: bool = True  # False: a batch is acknowledged when it arrives, and its lease removed with it
    lease_stays_while_rows_wait: bool = True
    """Also while what waits has a ``next_attempt_at``: a batch may still be in hand, and its claim needs the lease."""
    feeding_keeps_attempt: bool = True
    completion_waits_for_resend: bool = True
    campaign_reopens: bool = True
    """A deferral that comes late, for an ``unknown`` row, opens a row of a campaign that is over."""
    resend_asks_for_campaign: bool = True
    """An operator's resend opens a completed campaign again, and is refused in a cancelled one."""


@dataclass(frozen=True, slots=True)
class Scope:
    """How much is explored; each fault that is off makes it smaller."""

    messages: int = 1
    dispatchers: int = 2
    attempts: int = 2
    resend_once: bool = False  # the policy of transactional mail: at its first doubt
    operator: bool = False  # resolves unknown: accepted, or resend
    control: bool = False  # pause, resume, cancel
    holds: bool = False  # hold, release, and a database that is taken back to the launch
    suppression: bool = False
    deadline: bool = False  # send_by passes
    reports: bool = False  # late DSN, complaint, open
    lost_answers: bool = True  # of claims and outcomes
    crashes: bool = True
    losses: bool = True  # the belt acknowledges, purges, loses
    render_failures: bool = False
