"""Poison: what cannot be understood, and what breaks whoever touches it. It is put aside with its reason; the rest goes on.

11. Malformed protobuf, a template that breaks at one recipient, hostile values of a contact, a chunk of no campaign.
"""

import json
import subprocess
import sys

from hayabin.broker import Outgoing, connect
from hayabin.broker.topology import DISPATCH, EVENTS, RENDER
from hayabin.contracts.codec import encode
from hayabin.contracts.event_pb2 import DeliveryEvent, Event, EventBatch
from hayabin.contracts.render_pb2 import RenderChunk
from hayabin.domain.lane import lanes
from tests.chaos.scenario import Result, Scale, finished
from tests.chaos.world import POOL, ChaosWorld

GARBAGE = (b"", b"\xff" * 40, b"\x08\x96\x01\x12\xff\xff\xff\xff\x0f")
FRAGILE = "<p>{{ name }} {{ 100 / (n - 1) }}</p>"
HOSTILE = '"><script>\r\nBcc: all@example.com\r\n\u202e{{ 7*7 }}' + "x" * 2000


async def poisoned(world: ChaosWorld, scale: Scale) -> Result:
    """Put poison on every queue and into the audience."""
    version_id = await _fragile_template(world)
    campaign, addresses = await world.campaign(scale.fewer, template_version_id=version_id)
    list_id = (await world.query("SELECT list_id FROM campaigns WHERE id = $1", campaign))[0]["list_id"]
    await world.query(
        "UPDATE contacts SET attributes = jsonb_build_object('n', 5) FROM list_members "
        "WHERE contact_id = id AND list_id = $1",
        list_id,
    )
    ids = [
        row["contact_id"]
        for row in await world.query("SELECT contact_id FROM list_members WHERE list_id = $1", list_id)
    ]
    await world.query("UPDATE contacts SET attributes = jsonb_build_object('n', 1) WHERE id = $1", ids[len(ids) // 2])
    await world.query("UPDATE contacts SET name = $2 WHERE id = $1", ids[-1], HOSTILE)
    await world.launch_made(campaign, addresses)
    poison = [
        *(Outgoing(RENDER, belt, body) for body in GARBAGE for belt in ("bulk", "first", "transactional")),
        *(Outgoing(DISPATCH, f"{POOL}.{lanes()[0]}", body) for body in GARBAGE),
        *(Outgoing(EVENTS, kind, body) for body in GARBAGE for kind in ("delivery", "engagement", "bounce")),
        Outgoing(RENDER, "bulk", encode(RenderChunk(campaign_id=2**62, message_ids=[1], lease_expires_ms=2**52))),
        Outgoing(EVENTS, "delivery", encode(EventBatch(events=[Event(delivery=DeliveryEvent(message_id=2**63 + 1, state="bounced"))]))),
    ]  # fmt: skip
    async with connect(world.rabbitmq.url, name="poisoner") as broker:
        await broker.publish(poison)
    result = await finished(world, "poison on every queue and in the audience", [campaign])
    states = await world.states(campaign)
    result.hold("one recipient's mail could not be made", holds=states.get("failed") == 1, but=states)
    parked = _parked(world, "list", "--json")
    result.more["parked"] = len(parked)
    result.hold(
        "poison is parked with a reason", holds=len(parked) >= len(GARBAGE) and all(p["reason"] for p in parked)
    )
    result.hold("hostile values add no header", holds=not _injected(world))
    dropped = subprocess.run(
        [*_command("drop", "--all", "--yes")], env=_environment(world), capture_output=True, text=True, check=False
    )
    result.hold("parked messages can be dropped", holds=dropped.returncode == 0, but=dropped.stderr[-300:])
    result.hold("none is left", holds=not _parked(world, "list", "--json"))
    return result


async def _fragile_template(world: ChaosWorld) -> int:
    """A template that divides by zero for the one whose ``n`` is 1."""
    made = await world.call(
        "POST",
        "/v1/templates",
        json={"name": f"fragile-{world.random.random()}", "kind": "html", "subject": "x", "source": FRAGILE},
    )
    assert made.status_code == 201, made.text
    await world.call("POST", f"/v1/templates/{made.json()['id']}/versions/1/publish")
    return int(made.json()["version"]["id"])


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "services.api.main", "parked", *arguments]


def _environment(world: ChaosWorld) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "HAYABIN_BROKER_URL": world.rabbitmq.url}


def _parked(world: ChaosWorld, *arguments: str) -> list[dict[str, object]]:
    done = subprocess.run(_command(*arguments), env=_environment(world), capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return list(found["messages"] if isinstance(found, dict) else found)


def _injected(world: ChaosWorld) -> bool:
    return any("all@example.com" in entry.rcpt_to for entry in world.journal())
