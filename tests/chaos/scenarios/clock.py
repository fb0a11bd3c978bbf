"""Time: clocks that are wrong and jump, schedules that are too late, a database from yesterday.

9. Wrong clocks change nothing; what is too late, or was perhaps sent already, is held for a person.
"""

import asyncio
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from tests.chaos.judge import Launch
from tests.chaos.scenario import Result, Scale, clock_s, finished
from tests.chaos.world import GREY, ChaosWorld
from tests.support.shifted_clock import ARRIVES_WITHIN_S

QUIET_S = 5.0
HELD_WITHIN_S = 60.0


async def clocks_wrong(world: ChaosWorld, scale: Scale) -> Result:
    """Every process has another time of day, and the database's jumps by an hour in the middle."""
    campaign = await world.launch(
        scale.small if scale.short else scale.fewer, domains=("d0.example", "d1.example", "d2.example", GREY)
    )
    await world.taken(campaign, 0.2)
    in_flight = (await world.states(campaign)).get("claimed", 0)
    world.links.shift(world.links.shift_s + 3600)
    await asyncio.sleep(ARRIVES_WITHIN_S)
    late, addresses = await world.campaign(100)
    now = await world.query("SELECT now() AS now")
    form = {
        "schedule_at": (now[0]["now"] + timedelta(seconds=4)).isoformat(),
        "send_by": (now[0]["now"] + timedelta(seconds=6)).isoformat(),
        "allow_unverified_domain": True,
    }
    for scheduler in world.fleet.of("scheduler"):  # an outage until it is too late
        world.fleet.kill(scheduler)
        scheduler.service = None
    answer = await world.call("POST", f"/v1/campaigns/{late}/schedule", json=form)
    await asyncio.sleep(8.0)
    for scheduler in world.fleet.of("scheduler"):
        world.fleet.revive(scheduler)
    result = await finished(world, "clocks an hour and a day off, and a jump", [campaign], in_flight=in_flight)
    result.hold("the schedule was taken", holds=answer.status_code == 200, but=answer.text)
    end_s = clock_s() + 30
    row: dict[str, str] = {}
    while clock_s() < end_s and row.get("state") != "failed":
        await asyncio.sleep(0.3)
        row = dict((await world.query("SELECT state, state_reason FROM campaigns WHERE id = $1", late))[0])
    result.hold(
        "a schedule past its send-by is held",
        holds=row == {"state": "failed", "state_reason": "send_by_passed"},
        but=row,
    )
    sent = [entry for entry in world.journal() if entry.rcpt_to in addresses]
    result.hold("and nobody gets it", holds=not sent, but=len(sent))
    return result


async def database_restored(world: ChaosWorld, scale: Scale) -> Result:
    """The data of before is put back under services that live, or that were all started anew: held, not sent."""
    result = Result("a database from before, with live schedules")
    for restarted in (True,) if scale.short else (True, False):
        await _restore(world, scale, result, restarted=restarted)
    return result


async def _restore(world: ChaosWorld, scale: Scale, result: Result, *, restarted: bool) -> None:
    running = await world.launch(scale.fewer)
    scheduled, addresses = await world.campaign(scale.small)
    await world.taken(running, 0.2)
    form = {
        "schedule_at": (datetime.now(UTC) + timedelta(seconds=5)).isoformat(),
        "allow_unverified_domain": True,
    }
    answer = await world.call("POST", f"/v1/campaigns/{scheduled}/schedule", json=form)
    result.hold("the schedule was taken", holds=answer.status_code == 200, but=answer.text)
    world.launches.append(Launch(scheduled, addresses))
    backup = await _copy(world)
    await world.completed([running, scheduled], timeout_s=120)
    result.verdict = before = await world.judged([running, scheduled])
    why = await world.query("SELECT reason, count(*) AS n FROM messages WHERE state = 'unknown' GROUP BY 1")
    result.hold("nothing is unknown after a backup", holds=before.unknown == 0, but=[dict(row) for row in why])
    sent = len(world.journal())
    if restarted:
        for replica in world.fleet.replicas:
            world.fleet.kill(replica)
            replica.service = None
    await _put_back(world, backup)
    begun_s = clock_s()
    if restarted:
        for replica in world.fleet.replicas:
            world.fleet.revive(replica)
        await world.fleet.ready()
    held = await _held(world)
    result.recovery_s = clock_s() - begun_s
    result.hold("the installation is held", holds=held == "database_restored", but=held)
    await asyncio.sleep(QUIET_S)
    more = world.journal()[sent:]
    result.hold("nothing is sent from a restored database", holds=not more, but=len(more))
    states = {row["id"]: (row["state"], row["state_reason"]) for row in await world.query(
        "SELECT id, state, state_reason FROM campaigns WHERE id = ANY($1)", [running, scheduled])}  # fmt: skip
    result.hold("what was sending is paused", holds=states.get(running) == ("paused", "database_restored"), but=states)
    result.hold(
        "what was scheduled is taken back", holds=states.get(scheduled) == ("failed", "database_restored"), but=states
    )
    refused = await _launch_once(world)
    result.hold("a launch is refused with the reason", holds=refused[0] == 503 and "held" in refused[1], but=refused)
    last = (await world.query("SELECT max(id) AS id FROM messages"))[0]["id"]
    subprocess.run(
        [sys.executable, "-m", "services.api.main", "admin", "release", "--yes"],
        env={"PATH": "/usr/bin:/bin", "HAYABIN_DATABASE_URL": world.postgres.url}, check=True, capture_output=True,
    )  # fmt: skip
    released_at = time.time()
    after = await world.launch(scale.small)
    world.judge_from = released_at
    fresh = await finished(world, result.name, [after])
    result.broken += fresh.broken
    first = (await world.query("SELECT min(id) AS id FROM messages WHERE campaign_id = $1", after))[0]["id"]
    result.hold(
        "ids that may have been given since are not given again", holds=first > last + 1_000_000, but=(first, last)
    )
    for campaign in (running,):
        await world.call("POST", f"/v1/campaigns/{campaign}/cancel")


def _data(world: ChaosWorld) -> Path:
    return (world.postgres.folder / "data").resolve()


async def _copy(world: ChaosWorld) -> Path:
    """A cold backup of the database."""
    backup = _data(world).with_name("backup")
    await asyncio.to_thread(world.postgres.stop)
    shutil.rmtree(backup, ignore_errors=True)
    await asyncio.to_thread(lambda: subprocess.run(["cp", "-a", _data(world), backup], check=True))
    await asyncio.to_thread(world.postgres.start)
    return backup


async def _put_back(world: ChaosWorld, backup: Path) -> None:
    await asyncio.to_thread(world.postgres.stop)
    shutil.rmtree(_data(world))
    backup.rename(_data(world))
    await asyncio.to_thread(world.postgres.start)


async def _held(world: ChaosWorld) -> str:
    end_s = clock_s() + HELD_WITHIN_S
    while clock_s() < end_s:
        reason = str((await world.query("SELECT held_reason FROM installation"))[0]["held_reason"])
        if reason:
            return reason
        await asyncio.sleep(0.3)
    return ""


async def _launch_once(world: ChaosWorld) -> tuple[int, str]:
    """Try a launch, once its API knows of the hold."""
    campaign, _ = await world.campaign(10)
    answer = None
    for _ in range(40):
        async with httpx.AsyncClient(base_url=world.fleet.urls("api")[0], timeout=30) as client:
            answer = await client.post(
                f"/v1/campaigns/{campaign}/launch",
                json={"allow_unverified_domain": True},
                headers={"Authorization": f"Bearer {world.key}"},
            )
        if answer.status_code == 503 and "held" in answer.text:
            break
        await asyncio.sleep(0.3)
    return (answer.status_code, answer.text) if answer is not None else (0, "")
