"""Which queues of the pool are consumed.

Promises: nothing is consumed before a source IP is proven, nor while there is none; a provider whose lanes are all
closed here and open in another dispatcher of the pool is left to that one. A pool that was removed is consumed, so that
its mails go back to the ledger and to the campaigns' new pool.
Fails: the broker's errors come out of ``turn``; the next turn tries again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from hayabin.broker import Broker, Subscription
from hayabin.broker.interface import OnDelivery
from hayabin.broker.topology import dispatch_queue
from hayabin.domain.lane import PROVIDERS, lanes
from hayabin.telemetry.logging import get_logger
from services.dispatcher.control import Control
from services.dispatcher.lanes import Lanes


@dataclass(slots=True, eq=False)
class Consumption:
    """See the module; ``on_delivery`` gets the batches."""

    broker: Broker
    control: Control
    lanes: Lanes
    on_delivery: OnDelivery
    prefetch: int
    stopping: Callable[[], bool]
    _subscriptions: dict[str, Subscription] = field(default_factory=dict)

    async def turn(self) -> None:
        """Subscribe to what is wanted, cancel the rest."""
        for lane in lanes():
            wanted = self._wanted(lane)
            if wanted and lane not in self._subscriptions:
                queue = dispatch_queue(self.control.pool, lane)
                self._subscriptions[lane] = await self.broker.consume(queue, self.on_delivery, prefetch=self.prefetch)
            elif not wanted and lane in self._subscriptions:
                get_logger().info("lane_left_to_others", lane=lane, pool=self.control.pool)
                await self._subscriptions.pop(lane).cancel()

    def _wanted(self, lane: str) -> bool:
        if self.stopping():
            return False
        if self.control.pool_removed:
            return True
        if not self.control.sources:
            return False
        if lane not in PROVIDERS:
            return True
        ips = {source.ip for source in self.control.sources}
        ours = [one for one in self.lanes if one.key == lane and one.source_ip in ips]
        closed = len(ours) == len(ips) and all(one.closed() is not None for one in ours)
        return not (closed and self.control.open_elsewhere(lane))

    async def cancel(self) -> None:
        """Consume nothing any more."""
        while self._subscriptions:
            _, subscription = self._subscriptions.popitem()
            await subscription.cancel()
