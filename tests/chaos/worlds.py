"""Which scenarios share a world, and what each world is made of."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.chaos.making import MX, Servers, WorldPlan, chaos_world
from tests.chaos.scenario import Scale, Scenario
from tests.chaos.scenarios import (
    belt,
    clock,
    control,
    crashes,
    database,
    disk,
    duplicates,
    network,
    poison,
    processes,
    slow,
)
from tests.chaos.scenarios.disk import Disks
from tests.chaos.scenarios.network import Links
from tests.chaos.world import ChaosWorld
from tests.support.fault_proxy import fault_proxy
from tests.support.fault_proxy_udp import udp_fault_proxy
from tests.support.postgres import private_postgres
from tests.support.postgres_pair import postgres_pair
from tests.support.rabbitmq import private_rabbitmq
from tests.support.shifted_clock import shifted_clock
from tests.support.small_disk import DiskMissing, small_disk

HOUR_S = 3600.0
DAY_S = 86400.0
FEW = {"api": 1, "scheduler": 1, "renderer": 1, "dispatcher": 2}
"""What a world needs in which no service is killed."""


@dataclass(frozen=True, slots=True)
class Group:
    """Scenarios that run one after another in one world."""

    world: Callable[[int, Scale], AbstractAsyncContextManager[ChaosWorld]]
    scenarios: tuple[Scenario, ...]


@asynccontextmanager
async def plain(seed: int, scale: Scale) -> AsyncIterator[ChaosWorld]:
    """Two replicas of everything, and small disks under both servers where they can be had."""
    with ExitStack() as stack:
        disks = _disks(stack, 400 + scale.people // 50)
        servers = Servers(
            postgres=stack.enter_context(private_postgres(disk=disks.postgres if disks else None)),
            rabbitmq=stack.enter_context(private_rabbitmq(disk=disks.rabbitmq if disks else None)),
        )
        some = {"tracker": 1, "bounce": 1} if scale.short else {}
        async with chaos_world(WorldPlan(replicas={**WorldPlan().replicas, **some}), seed, servers) as world:
            world.disks = disks
            yield world


def _disks(stack: ExitStack, size_mb: int) -> Disks | None:
    """Small disks; None where nobody may mount one."""
    try:
        return Disks(stack.enter_context(small_disk(size_mb)), stack.enter_context(small_disk(size_mb)))
    except DiskMissing:
        return None


@asynccontextmanager
async def proxied(seed: int, scale: Scale) -> AsyncIterator[ChaosWorld]:
    """A proxy on each link, and a pair of databases behind one of them."""
    async with AsyncExitStack() as stack:
        pair = await stack.enter_async_context(postgres_pair())
        rabbitmq = stack.enter_context(private_rabbitmq())
        amqp = await stack.enter_async_context(fault_proxy("127.0.0.1", urlsplit(rabbitmq.url).port or 0))
        smtp = await stack.enter_async_context(fault_proxy(MX, 1))
        dns = await stack.enter_async_context(udp_fault_proxy("127.0.0.1", 1))
        servers = Servers(
            postgres=pair.primary,
            rabbitmq=rabbitmq,
            database_url=pair.url,
            broker_url=amqp.url(rabbitmq.url),
            smtp_port=smtp.port,
            dns_server=f"127.0.0.1:{dns.port}",
            settings={"api": {"backlog_limit": str(scale.small)}},
        )
        plan = WorldPlan(replicas=FEW, mx_address="127.0.0.1")
        async with chaos_world(plan, seed, servers) as world:
            smtp.retarget(MX, world.mx_port)
            dns.retarget("127.0.0.1", world.dns_port)
            world.links = Links(pair.proxy, amqp, smtp, dns, pair)
            yield world


@asynccontextmanager
async def shifted(seed: int, _scale: Scale) -> AsyncIterator[ChaosWorld]:
    """Each process has a time of day of its own."""
    with ExitStack() as stack:
        clocks = {
            shift_s: stack.enter_context(shifted_clock(shift_s))
            for shift_s in (-2 * HOUR_S, -HOUR_S, HOUR_S, DAY_S, -DAY_S)
        }
        postgres = stack.enter_context(private_postgres(clock=clocks[-2 * HOUR_S]))
        at = {shift_s: one.python_environment for shift_s, one in clocks.items()}
        servers = Servers(
            postgres=postgres,
            of={
                "scheduler": (at[HOUR_S],),
                "renderer": (at[DAY_S], at[-DAY_S]),
                "dispatcher": (at[-HOUR_S], at[DAY_S]),
            },
        )
        async with chaos_world(WorldPlan(replicas=FEW | {"renderer": 2}), seed, servers) as world:
            world.links = clocks[-2 * HOUR_S]
            yield world


GROUPS = (  # in this order those that run beside each other end together
    Group(
        proxied,
        (
            Scenario("4", "every link broken", network.every_link),
            Scenario("12", "slow things", slow.slow_everything),
            Scenario("3b", "standby promoted", network.standby_promoted),
        ),
    ),
    Group(
        plain,
        (
            Scenario("3a", "PostgreSQL killed and restarted", database.database_killed),
            Scenario("5", "rolling restart", processes.rolling_restart),
            Scenario("10a", "disk full under PostgreSQL", disk.database_disk_full),
            Scenario("10b", "RabbitMQ without room", disk.belt_full),
            Scenario("9b", "a database from before", clock.database_restored),
        ),
    ),
    Group(
        plain,
        (
            Scenario("1", "kill -9 of every service", processes.kill_everything),
            Scenario("2a", "RabbitMQ killed and stopped", belt.broker_killed),
            Scenario("2b", "RabbitMQ purged and wiped", belt.belt_emptied),
        ),
    ),
    Group(
        plain,
        (
            Scenario("6", "pause, resume, cancel", control.pause_resume_cancel),
            Scenario("7", "unsubscribes and suppressions", control.wishes_during_the_run),
            Scenario("8", "everything doubled", duplicates.one_effect),
            Scenario("11", "poison", poison.poisoned),
        ),
    ),
    Group(plain, (Scenario("13", "a crash at every boundary", crashes.every_crash_point),)),
    Group(shifted, (Scenario("9a", "wrong clocks", clock.clocks_wrong),)),
)
