"""What replies make lanes do: the reply rules of the policy, applied.

Promises: a rule's action, due at its first match or after several, holds at once on this dispatcher, is counted, logged
with the rule's name and without addresses, and shown with the lane; the mail itself is judged by the rule where the
rule says so.
Nothing here waits or writes: suspensions are written by ``control``.
It does not fail.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from hayabin.domain.bounce_reason import Verdict
from hayabin.domain.reply_rules import ReplyRule, Treatment, first_match, searched_text
from hayabin.domain.smtp_reply import Reply, SmtpPhase
from hayabin.telemetry.logging import get_logger
from hayabin.telemetry.metrics import REPLY_RULES
from services.dispatcher.lane import Lane
from services.dispatcher.rates import NS
from services.dispatcher.suspensions import Origin, Suspension, Suspensions


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a refusal means for its mail: the verdict, and whether another IP of the pool should try soon."""

    verdict: Verdict
    other_ip: bool = False


def take(reply: Reply | None, phase: SmtpPhase, verdict: Verdict, lane: Lane, suspensions: Suspensions) -> Judgement:
    """Let the first rule that matches act on the lane, and judge the mail."""
    rule = None if reply is None else first_match(lane.policy.rules, reply, phase)
    if reply is None or rule is None:
        return Judgement(verdict)
    REPLY_RULES.labels(lane.provider, rule.name).inc()
    shown = f"{reply.code} {reply.enhanced or '-'} {searched_text(reply.text)}"[:200]
    get_logger().info("reply_rule", rule=rule.name, lane=lane.key, source_ip=lane.source_ip, reply=shown)
    _act(rule, lane, suspensions)
    return Judgement(_judged(rule, verdict), rule.other_ip)


def _act(rule: ReplyRule, lane: Lane, suspensions: Suspensions) -> None:
    if not lane.tally.is_due(rule, lane.now_ns() / NS):
        return
    if rule.slow_to is not None:
        lane.slow_to(rule.slow_to, rule.name)
    if rule.suspend_lane_s is not None:
        suspensions.add(_suspension(rule, lane, lane.key, rule.suspend_lane_s))
    if rule.suspend_source_s is not None:
        suspensions.add(_suspension(rule, lane, None, rule.suspend_source_s))


def _suspension(rule: ReplyRule, lane: Lane, key: str | None, span_s: float) -> Suspension:
    until = datetime.now(UTC) + timedelta(seconds=span_s)
    return Suspension(None, lane.source_ip, key, Origin.RULE, rule.name, until)


def _judged(rule: ReplyRule, verdict: Verdict) -> Verdict:
    match rule.treat:
        case Treatment.BOUNCE:
            return replace(verdict, permanent=True)
        case Treatment.DEFERRAL:
            return replace(verdict, permanent=False, hard=False, suppress=False)
        case None:
            return verdict
