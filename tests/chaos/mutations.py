"""The code broken on purpose, one promise at a time: the suite must find out each of them.

Each mutation is a textual edit of a copy of the code; what it concerns is started anew from that copy in a small world,
and a scenario of the suite in its small form is run. The same scenarios pass on the copy without it.

Promises: an edit that does not fit the code exactly once fails, so a mutation cannot quietly become none; a mutation
counts as found only by the promise that it breaks. Every copy has less patience than the code (``HASTE``), so that a
dead dispatcher is mourned after two seconds; nothing else differs.
Fails: ``EditUnfit``; what fails in a scenario for another reason than a broken promise comes out.
"""

import asyncio
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.fleet import Replica
from tests.chaos.making import Servers, WorldPlan, chaos_world
from tests.chaos.scenario import Result
from tests.chaos.small import code_of, killed, replayed, suppressed, taken_back
from tests.chaos.world import ChaosWorld
from tests.conftest import new_database, with_database
from tests.support.postgres import PostgresInstance, private_postgres
from tests.support.rabbitmq import private_rabbitmq

ROOT = Path(__file__).parents[2]
SMALL = {"api": 1, "scheduler": 1, "renderer": 1, "dispatcher": 2}


class EditUnfit(AssertionError):
    """The text to be replaced does not stand in the code exactly once: the mutation must be written anew."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One place of the code and what stands there instead."""

    path: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutation:
    """What is broken, in which scenario that shows, and by which promise (the beginning of its text).

    Dispatchers always run the mutated code, others only where ``in_scheduler`` says that it is theirs.
    """

    name: str
    edits: tuple[Edit, ...]
    scenario: Callable[[ChaosWorld], Awaitable[Result]]
    breaks: str
    in_scheduler: bool = False


def edited(source: str, edit: Edit) -> str:
    """The text with the edit in it.

    Raises: EditUnfit.
    """
    times = source.count(edit.old)
    if times != 1:
        raise EditUnfit(f"{edit.path}: stands there {times} times, not once: {edit.old!r}")
    return source.replace(edit.old, edit.new)


@contextmanager
def copied(edits: Sequence[Edit]) -> Iterator[Path]:
    """A copy of the code with these edits.

    Raises: EditUnfit.
    """
    with tempfile.TemporaryDirectory(prefix="hayabin-mutated-") as folder:
        tree = Path(folder)
        for package in ("hayabin", "services"):
            shutil.copytree(ROOT / package, tree / package)
        for edit in edits:
            file = tree / edit.path
            file.write_text(edited(file.read_text(encoding="utf-8"), edit), encoding="utf-8")
        yield tree


# --- the mutations

LEDGER = "hayabin/database/ledger.py"
CARRIER = "services/dispatcher/carrier.py"
RECONCILER = "services/api/scheduler/reconciler.py"
SCHEDULER = "services/api/scheduler/main.py"
BULK = "MessageClass.BULK: UnknownPolicy"
GRANTED = 'return {row["id"]: row["address_key"] for row in answer if row["state"] == MessageState.CLAIMED}'

HASTE = (
    Edit("hayabin/database/instances.py", "BEAT_S = 3.0", "BEAT_S = 0.4"),
    Edit("hayabin/database/instances.py", "DEAD_AFTER_S = 20.0", "DEAD_AFTER_S = 2.0"),
    Edit(SCHEDULER, "tidy_belt(database, pulse, policies)), 2.0)", "tidy_belt(database, pulse, policies)), 0.3)"),
    Edit(SCHEDULER, "mourn(database, pulse, policies), 2.0)", "mourn(database, pulse, policies), 0.3)"),
)

MUTATIONS = (
    Mutation(
        "the gate does not ask for the attempt number",
        (
            Edit(LEDGER, "WHERE m.id = a.id AND m.attempt = a.attempt AND m.state", "WHERE m.id = a.id AND m.state"),
            Edit(
                LEDGER,
                "WHERE m.id = ANY($1) AND m.id = r.id AND m.attempt = r.attempt AND m.state",
                "WHERE m.id = ANY($1) AND m.id = r.id AND m.state",
            ),
        ),
        replayed,
        "ledger and receivers agree",
    ),
    Mutation(
        "a batch is acknowledged on receipt, and its leases are forgotten",
        (
            Edit(
                "services/dispatcher/worker.py",
                "self._spread(jobs)\n                await in_hand.all_settled.wait()\n",
                "self._spread(jobs)\n",
            ),
            Edit(RECONCILER, "await feeds.end_leases(connection)", "pass"),
        ),
        killed,
        "nothing is lost",
        in_scheduler=True,
    ),
    Mutation(
        "accepted is written with the claim, before the server's reply",
        (
            Edit(
                LEDGER,
                GRANTED,
                GRANTED.replace("return", "granted =") + "\n    begun = dict(rows)\n"
                "    await record(connection, [Outcome(i, begun[i] + 1, MessageState.ACCEPTED) for i in granted])\n"
                "    return granted",
            ),
        ),
        killed,
        "ledger and receivers agree",
    ),
    Mutation(
        "mail is sent before the gate is asked",
        (
            Edit(CARRIER, "group = await admitted(self._around.gate, jobs)", "group = jobs"),
            Edit(
                CARRIER,
                "            state = self._around.reporter.sent(",
                "            await admitted(self._around.gate, [job])\n            state = self._around.reporter.sent(",
            ),
        ),
        replayed,
        "nothing is sent twice",
    ),
    Mutation(
        "the gate does not ask for the pulse",
        (Edit(LEDGER, "i.held_reason = '' AND i.pulse >= $4", "i.held_reason = '' AND $4::bigint IS NOT NULL"),),
        taken_back,
        "nothing passes in a database from before",
    ),
    Mutation(
        "the gate does not look for suppressions",
        (Edit(LEDGER, "WHEN {_SUPPRESSED_NOW} OR {_LEFT} THEN", "WHEN false THEN"),),
        suppressed,
        "nobody who was suppressed before gets it",
    ),
    Mutation(
        "what is unknown is sent again, whatever its class",
        (Edit("hayabin/domain/campaign.py", f"{BULK}.HOLD", f"{BULK}.RESEND_ONCE"),),
        killed,
        "nothing is sent twice",
        in_scheduler=True,
    ),
)
SCENARIOS = tuple(dict.fromkeys(mutation.scenario for mutation in MUTATIONS))


# --- running them


@asynccontextmanager
async def small_world() -> AsyncIterator[ChaosWorld]:
    """A small world on servers of its own, of code that nobody mutated."""
    with ExitStack() as stack:
        server = stack.enter_context(private_postgres(fsync=False))
        url = with_database(server.url, stack.enter_context(new_database(server.url)))
        rabbitmq = stack.enter_context(private_rabbitmq())
        plan = WorldPlan(replicas=SMALL, manners="slow 0.05", code=stack.enter_context(copied(HASTE)))
        servers = Servers(postgres=PostgresInstance(url, None), rabbitmq=rabbitmq)
        async with chaos_world(plan, 1, servers) as world:
            yield world


async def tried(world: ChaosWorld, mutation: Mutation) -> Result:
    """Run a mutation's scenario on a copy of the code that has it; the world is as it was afterwards."""
    plain, launched = world.fleet.system.code, len(world.launches)
    with copied((*HASTE, *mutation.edits)) as tree:
        world.fleet.system.code = tree
        try:
            if mutation.in_scheduler:
                _restart(world, world.fleet.of("scheduler"))
            result = await mutation.scenario(world)
        finally:
            world.fleet.system.code = plain
            _restart(world, [replica for replica in world.fleet.replicas if code_of(replica) == tree])
    for launch in world.launches[launched:]:
        await world.call("POST", f"/v1/campaigns/{launch.campaign_id}/cancel")
    return result


def _restart(world: ChaosWorld, replicas: Sequence[Replica]) -> None:
    for replica in replicas:
        world.fleet.kill(replica)
        if replica.kind != "dispatcher":  # those are started anew by each scenario
            world.fleet.revive(replica)


def found(mutation: Mutation, result: Result) -> bool:
    """Whether the promise that the mutation breaks was found broken."""
    return any(promise.startswith(mutation.breaks) for promise in result.broken)


def say(what: str, result: Result, begun_s: float, *, good: bool) -> None:
    """Print a line of the table."""
    by = "; ".join(result.broken) or "every promise held"
    sys.stdout.write(f"{'ok' if good else 'WRONG':<6}{time.monotonic() - begun_s:>5.1f} s  {what:<66} {by}\n")
    sys.stdout.flush()


async def main() -> int:
    """Run the scenarios without a mutation, then each mutation; 1 where one is not found, or finds what is not there."""
    wrong = 0
    begun_s = time.monotonic()
    async with small_world() as world:
        sys.stdout.write(f"servers and world in {time.monotonic() - begun_s:.1f} s\n")
        for scenario in SCENARIOS:
            scenario_s = time.monotonic()
            result = await scenario(world)
            wrong += bool(result.broken)
            say(f"(no mutation: {result.name})", result, scenario_s, good=not result.broken)
        for mutation in MUTATIONS:
            scenario_s = time.monotonic()
            result = await tried(world, mutation)
            wrong += not found(mutation, result)
            say(mutation.name, result, scenario_s, good=found(mutation, result))
    sys.stdout.write(f"{len(MUTATIONS)} mutations, {wrong} wrong, in {time.monotonic() - begun_s:.1f} s\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    for name in ("asyncpg", "aio_pika", "aiormq"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.exit(asyncio.run(main()))
