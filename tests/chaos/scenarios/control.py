"""What people say while it runs: pause, resume, cancel; unsubscribe, suppress.

6. After the answer to a pause or cancel, no transaction begins later than two seconds.
7. Nobody whose wish was committed before the claim gets mail.
"""

import asyncio
import time
from typing import Any

from hayabin.domain.token import UnsubscribeClaim
from tests.chaos.people import Acts, unsubscribe
from tests.chaos.scenario import Result, Scale, ended, finished
from tests.chaos.world import ChaosWorld

STOP_S = 2.0
TRANSACTION_S = 0.5
"""From a transaction's begin, which nobody notes, to its end, which the receiver does."""
CLAIM_TO_MAIL_S = 1.5
"""A mail may be taken so long after its claim: a group of claimed mails takes a quarter of a second, then the server."""


async def pause_resume_cancel(world: ChaosWorld, scale: Scale) -> Result:
    """Pause and resume again and again, then cancel."""
    campaign = await world.launch(scale.fewer)
    late: list[float] = []
    paused = 0
    for _ in range(scale.rounds):
        await asyncio.sleep(0.4)
        answer = await world.call("POST", f"/v1/campaigns/{campaign}/pause")
        if answer.status_code != 200:  # it is complete
            break
        stopped_at = time.time()
        paused += bool((await world.states(campaign)).get("due"))
        await asyncio.sleep(STOP_S + TRANSACTION_S + 0.7)
        late += [entry.ts - stopped_at for entry in world.journal() if entry.ts > stopped_at + STOP_S + TRANSACTION_S]
        assert (await world.call("POST", f"/v1/campaigns/{campaign}/resume")).status_code == 200
    other = await world.launch(scale.fewer)
    await world.taken(other, 0.1)
    assert (await world.call("POST", f"/v1/campaigns/{other}/cancel")).status_code == 200
    cancelled_at = time.time()
    result = await finished(world, "pause and resume, then cancel", [campaign, other])
    hosts = set(next(one.addresses for one in world.launches if one.campaign_id == other))
    late += [
        entry.ts - cancelled_at
        for entry in world.journal()
        if entry.rcpt_to in hosts and entry.ts > cancelled_at + STOP_S + TRANSACTION_S
    ]
    states = await world.states(other)
    result.hold("no transaction later than 2 s after the answer", holds=not late, but=[round(s, 1) for s in late[:5]])
    result.hold("it was paused while there was something to send", holds=paused > 0)
    result.hold("cancel stops the rest", holds=states.get("cancelled", 0) > 0, but=states)
    return result


async def wishes_during_the_run(world: ChaosWorld, scale: Scale) -> Result:
    """People unsubscribe and are suppressed in random order while the campaign runs."""
    campaign = await world.launch(scale.fewer)
    rows = await world.query(
        "SELECT r.message_id, r.contact_id, r.wire, c.list_id FROM recipients r JOIN campaigns c ON c.id = r.campaign_id "
        "WHERE r.campaign_id = $1",
        campaign,
    )
    people = world.random.sample(rows, min(len(rows) // 3, 150 if scale.short else 10_000))
    gone: dict[str, float] = {}
    acts = Acts()

    async def wish(wishes: asyncio.Queue[Any]) -> None:
        while not wishes.empty():
            person = wishes.get_nowait()
            if person["message_id"] % 2:
                answer = await world.call(
                    "POST",
                    "/v1/suppressions",
                    json={"emails": [person["wire"]]},
                )
                assert answer.status_code == 201, answer.text
            else:
                claim = UnsubscribeClaim(
                    world.tenant_id,
                    person["list_id"],
                    person["contact_id"],
                    person["message_id"],
                )
                await unsubscribe(world, claim, 0.0, acts)
            gone[person["wire"]] = time.time()

    queue: asyncio.Queue[Any] = asyncio.Queue()
    for person in people:
        queue.put_nowait(person)
    wishing = asyncio.gather(*(wish(queue) for _ in range(6)))
    await world.completed([campaign], timeout_s=240)
    await ended(wishing)
    result = await finished(world, "unsubscribes and suppressions during the run", [campaign])
    late = [entry.rcpt_to for entry in world.journal() if entry.ts > gone.get(entry.rcpt_to, 2e9 * 2) + CLAIM_TO_MAIL_S]
    result.more["wishes"] = len(gone)
    result.more["suppressed"] = (await world.states(campaign)).get("suppressed", 0)
    result.hold("nobody who was gone before the claim gets mail", holds=not late, but=late[:3])
    result.hold("some were gone in time", holds=result.more["suppressed"] > 0)
    return result
