"""Slow things: a tarpit, a slow database, a slow belt, slow renderers. Memory stays bounded, and the client hears of it.

12. Bounds of resident memory for each process; the belt and the outbox are short; back-pressure reaches the API.
"""

import asyncio
from typing import Any

import httpx

from tests.chaos.scenario import Result, Scale, clock_s, finished
from tests.chaos.scenarios.network import Links
from tests.chaos.world import DOMAINS, TARPIT, ChaosWorld

RSS_MAX_MIB = {"api": 220, "scheduler": 200, "renderer": 260, "dispatcher": 360, "tracker": 200, "bounce": 200}
"""Resident memory of each kind of process, under any load."""
OUTBOX_MAX_ROWS = 2_000
BELT_MAX_MAILS = 45_000
"""Two classes of 20,000 (the feeder's high-water mark) and a chunk in each hand."""
PHASE_S = 4.0


async def slow_everything(world: ChaosWorld, scale: Scale) -> Result:
    """Half of the mail goes to a tarpit, and one link after another is slow, for as long as asked."""
    links: Links = world.links
    end_s = clock_s() + scale.slow_s
    ids = [await world.launch(scale.fewer, domains=(*DOMAINS, TARPIT))]
    refused: list[tuple[int, bool]] = []
    most: dict[str, Any] = {"rss_mib": dict.fromkeys(RSS_MAX_MIB, 0.0), "outbox_rows": 0, "belt_mails": 0}
    phases = [
        lambda: links.sql.slow(latency_s=0.05),
        lambda: links.amqp.slow(latency_s=0.1),
        lambda: links.smtp.slow(20_000),
        lambda: None,
    ]
    phase = 0
    while clock_s() < end_s:
        for proxy in (links.sql, links.amqp, links.smtp):
            proxy.heal()
        phases[phase % len(phases)]()
        phase += 1
        phase_end_s = clock_s() + max(PHASE_S, scale.slow_s / 60)
        while clock_s() < min(phase_end_s, end_s):
            await _measure(world, most)
            await _press(world, scale, ids, refused)
            await asyncio.sleep(0.5 if scale.slow_s < 60 else 5.0)
    for proxy in (links.sql, links.amqp, links.smtp):
        proxy.heal()
    for campaign in ids[1:]:
        await world.call("POST", f"/v1/campaigns/{campaign}/cancel")
    result = await finished(world, f"slow things for {scale.slow_s:.0f} s", ids, within_s=600)
    result.more |= {"most": most, "refusals": len(refused)}
    over = {kind: rss for kind, rss in most["rss_mib"].items() if rss > RSS_MAX_MIB[kind]}
    result.hold("resident memory is bounded", holds=not over, but=over)
    result.hold("the outbox is short", holds=most["outbox_rows"] <= OUTBOX_MAX_ROWS, but=most["outbox_rows"])
    result.hold("the belt is short", holds=most["belt_mails"] <= BELT_MAX_MAILS, but=most["belt_mails"])
    result.hold("back-pressure reaches the client", holds=bool(refused))
    result.hold("each refusal says when to come again", holds=all(when for _, when in refused), but=refused[:3])
    return result


async def _measure(world: ChaosWorld, most: dict[str, Any]) -> None:
    rss: dict[str, float] = most["rss_mib"]
    for name, size in world.fleet.rss_bytes().items():
        kind = name.rpartition("-")[0]
        rss[kind] = max(rss[kind], round(size / 2**20, 1))
    rows = await world.query(
        "SELECT (SELECT count(*) FROM outbox) AS outbox, COALESCE((SELECT sum(ready) FROM belt_depths "
        "WHERE queue LIKE 'dispatch.%'), 0)::bigint * 50 AS belt"
    )
    most["outbox_rows"] = max(most["outbox_rows"], rows[0]["outbox"])
    most["belt_mails"] = max(most["belt_mails"], rows[0]["belt"])


async def _press(world: ChaosWorld, scale: Scale, ids: list[int], refused: list[tuple[int, bool]]) -> None:
    """Ask for one more campaign than there is room for."""
    campaign, addresses = await world.campaign(scale.small, domains=(*DOMAINS, TARPIT))
    async with httpx.AsyncClient(base_url=world.fleet.urls("api")[0], timeout=70) as client:
        answer = await client.post(
            f"/v1/campaigns/{campaign}/launch",
            json={"allow_unverified_domain": True},
            headers={"Authorization": f"Bearer {world.key}", "Idempotency-Key": f"press-{campaign}"},
        )
    if answer.status_code == 200:
        ids.append(campaign)
        world.remember(campaign, addresses)
    elif answer.status_code in {429, 503}:
        refused.append((answer.status_code, "retry-after" in answer.headers))
