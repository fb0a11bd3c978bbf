"""A lane: exact limits, growth, slowing and recovery, quiet times, and the reason whenever nothing goes."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from hayabin.domain.bounce_reason import BounceReason, Verdict
from hayabin.domain.policy import Policy, TlsMode
from hayabin.domain.smtp_reply import Reply, SmtpPhase
from services.dispatcher import complaints
from services.dispatcher.daily import DailyCap
from services.dispatcher.lane import Lane, LaneState, Rules
from services.dispatcher.policy import load_policies
from services.dispatcher.rates import NS
from services.dispatcher.suspensions import Origin, Suspension, Suspensions

NOON = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)
BASE = Policy("gmail", 10, 100, 30.0, TlsMode.NONE, (300,), connections_start=2, growth_mails=3, recovery_s=100.0)


class Clock:
    """Both clocks of a lane, moved by the test."""

    def __init__(self, now: datetime = NOON) -> None:
        self.ns = 0
        self.begin = now

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.ns += int(seconds * NS)

    def now(self) -> datetime:
        """Tell the time."""
        return self.begin + timedelta(microseconds=self.ns // 1000)


def lane_with(
    policy: Policy = BASE, clock: Clock | None = None, caps: Sequence[DailyCap] = ()
) -> tuple[Lane, Clock, Suspensions]:
    """A lane from 127.0.0.2 to gmail."""
    clock = clock or Clock()
    suspensions = Suspensions("main")
    rules = Rules(suspensions, lambda *_: caps, lambda: clock.ns, clock.now)
    return Lane("gmail", "127.0.0.2", policy, rules), clock, suspensions


def test_lane_begins_small_and_grows_with_accepted_mails() -> None:
    """Two connections at first; each three accepted mails while all are in use allow one more, up to the policy's."""
    lane, _, _ = lane_with()
    limits = []
    for _ in range(30):
        while lane.may_connect():
            lane.connected()
        limits.append(lane.connection_limit)
        lane.accepted()
    assert limits == [2] * 3 + [3] * 3 + [4] * 3 + [5] * 3 + [6] * 3 + [7] * 3 + [8] * 3 + [9] * 3 + [10] * 6


def test_lane_idle_connections_do_not_earn_more() -> None:
    """A lane that does not use what it may does not grow: growth is by proof."""
    lane, _, _ = lane_with()
    lane.connected()
    for _ in range(50):
        lane.accepted()
    assert lane.connection_limit == 2


def test_lane_slowed_goes_at_the_part_then_doubles_back() -> None:
    """A rule that slows to a quarter leaves a quarter of the rate seen; each quiet recovery time doubles it, visibly."""
    lane, clock, _ = lane_with()
    for _ in range(60):
        clock.forward(1)
        lane.grant(8)
    lane.slow_to(0.25, "unusual-rate")
    assert lane.limit_per_s == pytest.approx(2, rel=0.05)
    status = lane.status()
    assert (status.state, status.reason) == (LaneState.SLOWED, "25% of its speed: unusual-rate")
    assert status.ready_at == clock.now() + timedelta(seconds=100)
    speeds = []
    for _ in range(4):
        clock.forward(101)
        lane.recover()
        speeds.append(lane.speed)
    assert speeds == [0.5, 1.0, 1.0, 1.0]
    assert lane.limit_per_s is None
    assert lane.status().state is LaneState.OPEN


def test_lane_same_complaint_from_many_connections_slows_once() -> None:
    """Ten connections hear the same 421 within a second: that is one reason; another one later is a second."""
    lane, clock, _ = lane_with()
    for _ in range(10):
        lane.slow_to(0.5, "unusual-rate")
        clock.forward(0.1)
    assert lane.speed == 0.5
    clock.forward(10)
    lane.slow_to(0.5, "unusual-rate")
    assert lane.speed == 0.25


def test_lane_complaints_without_end_leave_a_trickle() -> None:
    """However often a server complains, the lane stays above zero: it must notice when things are better."""
    lane, clock, _ = lane_with()
    for _ in range(100):
        lane.slow_to(0.1, "no")
        clock.forward(6)
    assert lane.connection_limit == 1
    assert lane.limit_per_s == pytest.approx(1 / 64)


def test_lane_crowded_learns_the_servers_limit_and_forgets_slowly() -> None:
    """A server that serves three connections and refuses the fourth is asked for no fourth until things are quiet."""
    lane, clock, _ = lane_with(replace(BASE, connections_start=10))
    for _ in range(4):
        lane.connected()
    lane.crowded()
    lane.disconnected()
    assert lane.connection_limit == 3
    assert not lane.may_connect()
    for expected in (4, 5):
        clock.forward(101)
        lane.recover()
        lane.open_connections = lane.connection_limit
        for _ in range(3):
            lane.accepted()
        assert lane.connection_limit == expected


def test_lane_connection_spacing_kept() -> None:
    """From one connection's begin to the next there is the policy's pause."""
    lane, clock, _ = lane_with(replace(BASE, connections_start=10, connection_spacing_s=2.0))
    lane.connected()
    clock.forward(1.9)
    assert not lane.may_connect()
    clock.forward(0.2)
    assert lane.may_connect()


@pytest.mark.parametrize(
    ("minute", "second", "closed_until"),
    [
        (0, 0, "13:05"),
        (4, 59, "13:05"),
        (5, 0, None),
        (30, 0, None),
        (57, 59, None),
        (58, 0, "14:05"),
        (59, 59, "14:05"),
    ],
)
def test_lane_around_the_full_hour_bulk_waits_and_urgent_mail_goes(
    minute: int, second: int, closed_until: str | None
) -> None:
    """From two minutes before to five minutes after the hour no bulk mail begins; transactional mail does."""
    policy = replace(BASE, quiet_before_hour_s=120.0, quiet_after_hour_s=300.0)
    lane, _, _ = lane_with(policy, Clock(datetime(2026, 11, 24, 13, minute, second, tzinfo=UTC)))
    closed = lane.closed()
    assert lane.grant(1, urgent=True) == 1
    if closed_until is None:
        assert closed is None
        assert lane.grant(1) == 1
    else:
        assert closed is not None
        assert closed.state is LaneState.QUIET
        assert f"{closed.ready_at:%H:%M}" == closed_until
        assert lane.grant(1) == 0


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        (("main", None, None), True),
        ((None, "127.0.0.2", None), True),
        ((None, None, "gmail"), True),
        (("main", "127.0.0.2", "gmail"), True),
        (("other", None, None), False),
        ((None, "127.0.0.3", None), False),
        ((None, None, "yahoo"), False),
        (("main", "127.0.0.2", "yahoo"), False),
    ],
)
def test_lane_suspended_by_pool_ip_or_provider_until_it_ends(
    target: tuple[str | None, str | None, str | None], meant: bool
) -> None:
    """A suspension closes the lanes that it means, for everything, with its reason and its end."""
    lane, clock, suspensions = lane_with()
    until = clock.now() + timedelta(seconds=60)
    suspensions.read([Suspension(*target, Origin.OPERATOR, "maintenance", until)])
    closed = lane.closed(urgent=True)
    if not meant:
        assert closed is None
        return
    assert closed is not None
    assert (closed.state, closed.reason, closed.ready_at) == (LaneState.SUSPENDED, "maintenance", until)
    assert lane.grant(5) == 0
    clock.forward(61)
    assert lane.grant(5) == 5


def test_suspensions_of_a_rule_hold_until_lifted_in_the_database() -> None:
    """A fresh one holds before it is written; one that was read and is gone was lifted."""
    lane, clock, suspensions = lane_with()
    suspension = Suspension(None, "127.0.0.2", "gmail", Origin.RULE, "blocked", clock.now() + timedelta(hours=1))
    suspensions.add(suspension)
    suspensions.read([])
    assert lane.closed() is not None, "not written yet, so nobody can have lifted it"


def test_suspensions_of_thousands_of_hosts_cost_a_lane_nothing() -> None:
    """An IP that is listed somewhere is turned away by all who look there; other lanes are asked as quickly as before."""
    lane, clock, suspensions = lane_with()
    until = clock.now() + timedelta(hours=4)
    some = [Suspension(None, "127.0.0.2", f"mx:mx{n}.example", Origin.RULE, "listed", until) for n in range(10_000)]
    suspensions.read(some)
    for one in some:
        suspensions.add(one)
    begun_s = time.perf_counter()
    assert all(lane.closed() is None for _ in range(500))
    assert time.perf_counter() - begun_s < 0.3
    assert suspensions.of("127.0.0.2", "mx:mx7.example", clock.now()) is some[7]


def test_complaint_in_the_log_has_its_rule_and_no_address() -> None:
    """Servers like to repeat the recipient: what they said is logged without."""
    lane, _, suspensions = lane_with(replace(BASE, rules=load_policies().get("default").rules))
    reply = Reply(450, "4.2.0", "<taro@example.com>: Recipient address rejected: Greylisted")
    verdict = Verdict(permanent=False, hard=False, reason=BounceReason.GREYLISTED, suppress=False)
    with capture_logs() as logs:
        complaints.take(reply, SmtpPhase.RCPT, verdict, lane, suspensions)
    (line,) = (line for line in logs if line["event"] == "reply_rule")
    assert line["reply"] == "450 4.2.0 @ Recipient address rejected: Greylisted"
    assert "taro" not in str(logs)


def test_lane_policy_changed_at_run_time_holds_at_once() -> None:
    """Lower connections and a new rate hold for the next message; what was used of the hour counts."""
    lane, _, _ = lane_with(replace(BASE, connections_start=10, rate_per_h=100))
    assert lane.grant(60) == 60
    lane.obey(replace(BASE, connections=3, rate_per_h=70, rate_per_s=5.0, burst=5))
    assert lane.connection_limit == 3
    assert lane.grant(60) == 5
    assert lane.limit_per_s == pytest.approx(70 / 3600)


def test_lane_minute_used_up_tells_when_it_goes_on() -> None:
    """A lane that has used its minute says so with the time."""
    lane, clock, _ = lane_with(replace(BASE, rate_per_min=30))
    assert lane.grant(100) == 30
    status = lane.status()
    assert status.state is LaneState.CAPPED
    assert status.ready_at is not None
    assert 60 <= (status.ready_at - clock.now()).total_seconds() <= 62
