"""Lanes and the places for connections on them, used at random: what is counted is what is held and what began."""

from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.dispatcher.lane import Lane, Rules
from services.dispatcher.lanes import ConnectionSlot, Lanes
from services.dispatcher.rates import NS
from services.dispatcher.suspensions import Suspensions
from tests.engine.test_lane import BASE, Clock


class LaneMachine(RuleBasedStateMachine):
    """Random use of lanes to two destinations from two IPs: places and limits always agree."""

    IPS = ("127.0.0.2", "127.0.0.3")
    KEYS = ("gmail", "mx:a", "mx:b")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        rules = Rules(Suspensions("main"), lambda *_: (), lambda: self.clock.ns, self.clock.now)
        self.lanes = Lanes(rules, idle_lanes=2, idle_s=61)
        self.slots: list[ConnectionSlot] = []
        self.policy = replace(BASE, connections=4, rate_per_min=50)
        self.begun: list[tuple[str, str, int]] = []

    def of(self, key: str) -> list[Lane]:
        """The lanes of a destination."""
        return [self.lanes.get(key, ip, self.policy) for ip in self.IPS]

    @rule(key=st.sampled_from(KEYS))
    def connect(self, key: str) -> None:
        """Take a place: given while one is free, from the source that is used least."""
        lanes = self.of(key)
        able = [lane for lane in lanes if lane.may_connect() and lane.wait_s() <= 1]
        open_before = {lane.source_ip: lane.open_connections for lane in able}
        slot = self.lanes.connection(lanes)
        if slot is None:
            assert not able
            return
        assert open_before[slot.lane.source_ip] == min(open_before.values())
        self.slots.append(slot)

    @rule(data=st.data(), twice=st.booleans())
    def disconnect(self, data: Any, twice: bool) -> None:
        """Give a place back, perhaps twice."""
        if self.slots:
            slot = self.slots.pop(data.draw(st.integers(0, len(self.slots) - 1)))
            slot.release()
            if twice:
                slot.release()

    @rule(key=st.sampled_from(KEYS), wanted=st.integers(1, 30), good=st.booleans())
    def send(self, key: str, wanted: int, good: bool) -> None:
        """Let messages begin, some of them accepted."""
        for lane in self.of(key):
            granted = lane.grant(wanted)
            assert 0 <= granted <= wanted
            self.begun += [(lane.key, lane.source_ip, self.clock.ns)] * granted
            if good and granted:
                lane.accepted()

    @rule(key=st.sampled_from(KEYS), part=st.floats(0.1, 0.9))
    def complain(self, key: str, part: float) -> None:
        """Slow down."""
        self.of(key)[0].slow_to(part, "x")

    @rule(seconds=st.floats(0.01, 70))
    def wait(self, seconds: float) -> None:
        """Let time pass and lanes recover."""
        self.clock.forward(seconds)
        self.lanes.tick()

    @invariant()
    def places_agree(self) -> None:
        """What is counted is what is held, and never above the policy."""
        for key in self.KEYS:
            for lane in self.lanes:
                if lane.key == key:
                    held = sum(1 for slot in self.slots if slot.lane is lane)
                    assert held == lane.open_connections <= 4

    @invariant()
    def no_minute_above_its_limit(self) -> None:
        """Forgotten lanes and lanes in use together never exceed the minute."""
        for place in {(key, ip) for key, ip, _ in self.begun}:
            times = [at for key, ip, at in self.begun if (key, ip) == place]
            for start in times:
                assert sum(1 for at in times if start <= at < start + 60 * NS) <= 50


TestLaneMachine = LaneMachine.TestCase
TestLaneMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
