"""The pulse and the belt's mark bear witness of each other; on a real PostgreSQL and both brokers."""

from collections.abc import AsyncIterator

import pytest

from hayabin.broker import Broker, Trouble, connect
from hayabin.broker.topology import MARK_QUEUE
from hayabin.database import installation
from hayabin.database.engine import Pool
from hayabin.database.installation import HoldReason, Mark, read_mark
from hayabin.database.launch import launch
from hayabin.telemetry.metrics import BELTS_EMPTIED, HELD
from services.api.scheduler.pulse import JUMP_S, LATE_S, Pulse
from services.api.scheduler.schedules import launch_scheduled
from tests.contract.belt import drain
from tests.support.fault_proxy import FaultProxy, fault_proxy_before
from tests.support.seed import Seeded, seed_campaign
from tests.support.waiting import eventually


@pytest.fixture(params=["rabbitmq", "embedded"])
async def belt(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Broker, FaultProxy]]:
    """A broker of each kind without a mark, and the way to it, that can be broken."""
    url = str(request.getfixturevalue("amqp_url" if request.param == "rabbitmq" else "database_url"))
    async with fault_proxy_before(url) as (through, proxy), connect(through, name="pulse") as broker:
        await drain(broker, MARK_QUEUE)
        yield broker, proxy
        proxy.heal()


@pytest.fixture
def broker(belt: tuple[Broker, FaultProxy]) -> Broker:
    """The broker alone."""
    return belt[0]


@pytest.fixture
async def seeded(pool: Pool) -> Seeded:
    """A campaign that is sending, all of it leased to the belt."""
    async with pool.acquire() as connection, connection.transaction():
        seeded = await seed_campaign(connection, [f"u{n}@x.example" for n in range(3)])
        await launch(connection, seeded.campaign_id, tenant_id=seeded.tenant_id)
    return seeded


def times_emptied() -> float:
    """What ``BELTS_EMPTIED`` counts."""
    return float(BELTS_EMPTIED._value.get())


async def leases(pool: Pool) -> tuple[int, int]:
    """How many leases hold, and how many have ended."""
    row = await pool.fetchrow(
        "SELECT count(*) FILTER (WHERE lease_expires_at > now()) AS hold, "
        "count(*) FILTER (WHERE lease_expires_at <= now()) AS ended FROM feeds"
    )
    assert row is not None
    return row["hold"], row["ended"]


async def facts(pool: Pool) -> tuple[int, str]:
    """The pulse and why everything is held."""
    row = await pool.fetchrow("SELECT pulse, held_reason FROM installation")
    assert row is not None
    return row["pulse"], row["held_reason"]


async def test_pulse_grows_with_each_turn_and_the_belt_keeps_the_last(pool: Pool, broker: Broker) -> None:
    """Each bears witness of the other, from the first turn of an empty installation on."""
    before = times_emptied()
    pulse = Pulse(pool, broker)
    for turn in range(1, 4):
        await pulse.turn()
        assert await facts(pool) == (turn, "")
        assert read_mark(await broker.recall()) == Mark(1, turn)
        assert pulse.known == turn
    assert times_emptied() == before
    assert HELD._value.get() == 0


async def test_two_schedulers_beat_one_pulse(pool: Pool, broker: Broker) -> None:
    """Neither takes the other's beats for a restored database, nor its mark for an emptied belt."""
    before = times_emptied()
    first, second = Pulse(pool, broker), Pulse(pool, broker)
    for _ in range(3):
        await first.turn()
        await second.turn()
    assert await facts(pool) == (6, "")
    assert times_emptied() == before


@pytest.mark.parametrize("witness", ["process_and_belt", "belt_alone", "process_alone"])
async def test_database_that_went_back_is_held(pool: Pool, broker: Broker, seeded: Seeded, witness: str) -> None:
    """Found out by a scheduler that lives, by one that was started anew, and where the belt was emptied as well."""
    pulse = Pulse(pool, broker)
    for _ in range(3):
        await pulse.turn()
    await pool.execute("UPDATE installation SET pulse = 1")
    if witness == "belt_alone":
        pulse = Pulse(pool, broker)
    if witness == "process_alone":
        await drain(broker, MARK_QUEUE)
    await pulse.turn()
    assert await facts(pool) == (4, HoldReason.DATABASE_RESTORED)
    assert HELD._value.get() == 1
    assert await pool.fetchval("SELECT state FROM campaigns WHERE id = $1", seeded.campaign_id) == "paused"
    assert read_mark(await broker.recall()) == Mark(2, 4)
    await pulse.turn()
    assert await facts(pool) == (5, HoldReason.DATABASE_RESTORED)
    async with pool.acquire() as connection:
        await installation.release(connection)
    await pulse.turn()
    assert await facts(pool) == (6, "")
    assert HELD._value.get() == 0


async def test_belt_without_its_mark_was_emptied_and_all_leases_end(pool: Pool, broker: Broker, seeded: Seeded) -> None:
    """What was on it is due again at once; it is counted once, and the mark is there again."""
    pulse = Pulse(pool, broker)
    await pulse.turn()
    before = times_emptied()
    await pulse.turn()
    assert await leases(pool) == (1, 0)
    await drain(broker, MARK_QUEUE)
    await pulse.turn()
    assert await leases(pool) == (0, 1)
    assert times_emptied() == before + 1
    assert read_mark(await broker.recall()) == Mark(1, 3)
    await pulse.turn()
    assert times_emptied() == before + 1
    assert await facts(pool) == (4, "")


async def test_belt_that_is_away_is_not_taken_for_an_emptied_one(
    pool: Pool, belt: tuple[Broker, FaultProxy], seeded: Seeded
) -> None:
    """The pulse goes on and says so; leases hold, nothing is counted; back again, the belt keeps the newest mark."""
    broker, proxy = belt
    pulse = Pulse(pool, broker)
    await pulse.turn()
    before = times_emptied()
    proxy.refuse()
    proxy.cut()
    await eventually(broker.problem, lambda problem: problem == Trouble.AWAY)
    for turn in (2, 3):
        await pulse.turn()
        assert await facts(pool) == (turn, "")
        assert await pool.fetchval("SELECT belt_problem FROM installation") == Trouble.AWAY == pulse.belt_problem
    assert (await leases(pool), times_emptied()) == ((1, 0), before)
    proxy.heal()
    await eventually(broker.problem, lambda problem: problem == Trouble.NONE)
    await pulse.turn()
    assert await pool.fetchval("SELECT belt_problem FROM installation") == Trouble.NONE
    assert (await leases(pool), times_emptied()) == ((1, 0), before)
    assert await facts(pool) == (4, "")
    assert read_mark(await broker.recall()) == Mark(1, 4)


async def test_mark_is_compared_when_the_belt_is_back(pool: Pool, belt: tuple[Broker, FaultProxy]) -> None:
    """A scheduler that was started anew while the belt was away finds a restored database out later, not never."""
    broker, proxy = belt
    pulse = Pulse(pool, broker)
    for _ in range(5):
        await pulse.turn()
    await pool.execute("UPDATE installation SET pulse = 1")
    proxy.refuse()
    proxy.cut()
    await eventually(broker.problem, lambda problem: problem == Trouble.AWAY)
    fresh = Pulse(pool, broker)
    await fresh.turn()
    assert await facts(pool) == (2, "")
    proxy.heal()
    await eventually(broker.problem, lambda problem: problem == Trouble.NONE)
    await fresh.turn()
    assert await facts(pool) == (6, HoldReason.DATABASE_RESTORED)


class HandClock:
    """A monotonic clock in the test's hand."""

    now_s = 1000.0

    def __call__(self) -> float:
        """Its time."""
        return self.now_s


async def test_pulse_is_steady_for_as_long_as_its_turns_come_in_time(pool: Pool, broker: Broker) -> None:
    """Turns of a real database: steady from the first one on, not at all once none comes for ``LATE_S``."""
    clock = HandClock()
    pulse = Pulse(pool, broker, clock_s=clock)
    assert pulse.steady_s() == 0
    for turn in range(5):
        await pulse.turn()
        assert pulse.steady_s() == turn * 3
        clock.now_s += 3  # the database's clock falls behind by less than JUMP_S each time
    clock.now_s += LATE_S - 3.5
    assert pulse.steady_s() == pytest.approx(15 + LATE_S - 3.5)
    clock.now_s += 0.5
    assert pulse.steady_s() == 0


async def test_pulse_is_not_steady_after_a_jump_of_the_databases_clock(pool: Pool, broker: Broker) -> None:
    """The turn came in time by ours, and the database's clock went another way: silence says nothing then."""
    clock = HandClock()
    pulse = Pulse(pool, broker, clock_s=clock)
    for _ in range(3):
        await pulse.turn()
        clock.now_s += 3
    clock.now_s += JUMP_S - 2  # in time, but the database's clock did not go along
    await pulse.turn()
    assert pulse.steady_s() == 0
    clock.now_s += 3
    await pulse.turn()
    assert pulse.steady_s() == 3


@pytest.mark.parametrize(
    ("ours_s", "database_s", "steady"),
    [
        (LATE_S - 0.1, LATE_S - 0.1, True),
        (LATE_S, LATE_S, False),
        (3600.0, 3600.0, False),
        (2.0, 2.0 + JUMP_S - 0.1, True),
        (2.0, 2.0 + JUMP_S + 0.1, False),
        (2.0, 2.0 - JUMP_S + 0.1, True),
        (2.0, 2.0 - JUMP_S - 0.1, False),
        (2.0, -3600.0, False),
    ],
)
def test_pulse_counts_anew_after_a_late_turn_or_a_jump(ours_s: float, database_s: float, steady: bool) -> None:
    """Each cause by itself, at its bound: how far both clocks went between two turns, and whether that is steady."""
    clock = HandClock()
    pulse = Pulse(None, None, clock_s=clock)  # type: ignore[arg-type]  # time alone is asked
    pulse._keep_time(5e8)
    clock.now_s += 2
    pulse._keep_time(5e8 + 2)
    clock.now_s += ours_s
    pulse._keep_time(5e8 + 2 + database_s)
    assert pulse.steady_s() == (pytest.approx(2 + ours_s) if steady else 0)


async def test_schedule_waits_while_held_and_in_a_database_that_is_behind(pool: Pool) -> None:
    """Neither launches it, and neither loses it; once both are over it is launched."""
    async with pool.acquire() as connection:
        seeded = await seed_campaign(connection, ["a@x.example"])
    await pool.execute("UPDATE campaigns SET state = 'scheduled', schedule_at = now() - interval '1 second'")

    async def state() -> str:
        return str(await pool.fetchval("SELECT state FROM campaigns WHERE id = $1", seeded.campaign_id))

    await pool.execute("UPDATE installation SET pulse = 7, held_reason = 'by_operator'")
    assert (await launch_scheduled(pool, 7), await state()) == (0, "scheduled")
    await pool.execute("UPDATE installation SET held_reason = ''")
    assert (await launch_scheduled(pool, 8), await state()) == (0, "scheduled")
    assert await pool.fetchval("SELECT count(*) FROM messages") == 0
    assert (await launch_scheduled(pool, 7), await state()) == (1, "sending")
