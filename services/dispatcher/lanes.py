"""All lanes of a process, and the places for connections on them.

Promises: a connection has a place on a lane as long as it is open; the place given is on the lane that has the fewest
and that lets a message begin. Memory is bounded by ``idle_lanes`` and the lanes used within the hour.
It does not fail.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator

from hayabin.domain.policy import Policy
from services.dispatcher.lane import Lane, Rules


class ConnectionSlot:
    """A place for one open connection on ``lane``; give it back with ``release``."""

    __slots__ = ("_released", "lane")

    def __init__(self, lane: Lane) -> None:
        """Count as open until released."""
        self.lane = lane
        self._released = False
        lane.connected()

    def release(self) -> None:
        """Give the place back; a second time does nothing."""
        if not self._released:
            self._released = True
            self.lane.disconnected()


class Lanes:
    """All lanes of a process."""

    def __init__(self, rules: Rules, *, idle_lanes: int = 10_000, idle_s: float = 3600.0) -> None:
        """Forget lanes at rest beyond ``idle_lanes``, those unused for longest first, none used within ``idle_s``.

        A destination keeps its lanes for less than that, so nobody has a lane that was forgotten.
        """
        self._rules = rules
        self._idle_lanes = idle_lanes
        self._idle_s = idle_s
        self._lanes: OrderedDict[tuple[str, str], Lane] = OrderedDict()

    def __iter__(self) -> Iterator[Lane]:
        return iter(list(self._lanes.values()))

    def get(self, key: str, source_ip: str, policy: Policy) -> Lane:
        """Give a lane, made if need be; it goes by ``policy`` from now on."""
        place = (key, source_ip)
        lane = self._lanes.get(place)
        if lane is None:
            self._forget_idle()
            lane = self._lanes[place] = Lane(key, source_ip, policy, self._rules)
        else:
            self._lanes.move_to_end(place)
            if lane.policy is not policy and lane.policy != policy:
                lane.obey(policy)
        lane.used_ns = lane.now_ns()
        return lane

    def connection(self, lanes: Iterable[Lane], *, urgent: bool = False) -> ConnectionSlot | None:
        """Give a place on the lane with the fewest open connections that may open one and let a message begin."""
        chosen: Lane | None = None
        for lane in lanes:
            if not lane.may_connect() or lane.closed(urgent=urgent) is not None or lane.wait_s() > 1:
                continue
            if chosen is None or lane.open_connections < chosen.open_connections:
                chosen = lane
        return None if chosen is None else ConnectionSlot(chosen)

    def refresh(self) -> None:
        """Look up the daily caps of every lane again (a warm-up plan changed)."""
        for lane in self:
            lane.obey(lane.policy)

    def tick(self) -> None:
        """Let lanes recover; call it about every second."""
        for lane in self:
            lane.recover()

    def _forget_idle(self) -> None:
        excess = len(self._lanes) - self._idle_lanes
        if excess < 0:
            return
        idle = [place for place, lane in self._lanes.items() if lane.rested(self._idle_s)]
        for place in idle[: excess + 1]:
            del self._lanes[place]
