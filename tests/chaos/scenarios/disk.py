"""Room: a full disk under PostgreSQL, a full disk and alarms under RabbitMQ.

10. The API says 503 with the reason, nothing is lost, and it goes on when there is room again.
"""

import asyncio
from dataclasses import dataclass

import httpx

from tests.chaos.scenario import Result, Scale, clock_s, finished
from tests.chaos.world import ChaosWorld
from tests.support.small_disk import SmallDisk

TOLD_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Disks:
    """The small disks of a world."""

    postgres: SmallDisk
    rabbitmq: SmallDisk


async def database_disk_full(world: ChaosWorld, scale: Scale) -> Result:
    """The disk under PostgreSQL fills up in the middle of a run."""
    disks: Disks = world.links
    campaign = await world.launch(scale.people)
    await world.taken(campaign, 0.2)
    disks.postgres.fill()
    told = await _told(world, {"storage-full", "unavailable"})
    disks.postgres.free()
    if not world.postgres.running:
        await asyncio.to_thread(world.postgres.start)
    result = await finished(world, "disk full under PostgreSQL", [campaign])
    result.hold("the API answers 503 with the reason", holds=told in {"storage-full", "unavailable"}, but=told)
    result.more["told"] = told
    return result


async def belt_full(world: ChaosWorld, scale: Scale) -> Result:
    """The disk under RabbitMQ fills up; then its memory alarm, then its disk alarm."""
    disks: Disks = world.links
    ids = [await world.launch(scale.people)]
    told = {}
    disks.rabbitmq.fill()
    told["disk full"] = await _told(world, {"belt-unavailable"})
    disks.rabbitmq.free()
    if not world.rabbitmq.running:
        await asyncio.to_thread(world.rabbitmq.start)
    for name, alarm, reset in (
        ("memory alarm", ("set_vm_memory_high_watermark", "0.00001"), ("set_vm_memory_high_watermark", "0.4")),
        ("disk alarm", ("set_disk_free_limit", "900GB"), ("set_disk_free_limit", "20MB")),
    ):
        ids.append(await world.launch(scale.small))
        await asyncio.to_thread(world.rabbitmq.control, *alarm)
        told[name] = await _told(world, {"belt-unavailable"})
        await asyncio.to_thread(world.rabbitmq.control, *reset)
    result = await finished(world, "disk full under RabbitMQ, memory and disk alarm", ids)
    result.more["told"] = told
    wrong = {name: word for name, word in told.items() if word != "belt-unavailable"}
    result.hold("the API answers 503 with the reason", holds=not wrong, but=wrong)
    return result


async def _told(world: ChaosWorld, words: set[str]) -> str:
    """Ask for launches until an answer is 503 for one of these reasons; gives the kind of the last problem."""
    end_s = clock_s() + TOLD_WITHIN_S
    kind = ""
    async with httpx.AsyncClient(base_url=world.fleet.urls("api")[0], timeout=40) as client:
        while clock_s() < end_s and kind not in words:
            await asyncio.sleep(0.3)
            answer = await client.post(
                "/v1/campaigns/1/launch", json={}, headers={"Authorization": f"Bearer {world.key}"}
            )
            kind = (
                answer.json().get("type", "").rpartition("/")[2]
                if answer.status_code == 503
                else str(answer.status_code)
            )
            if answer.status_code == 503 and "retry-after" not in answer.headers:
                kind = "503 without Retry-After"
    return kind
