"""The demo's two campaigns: the main one, with all that its recipients do, and a small letter to the same list.

Promises: numbers come from where they are made (the API's stats, the ledger, the sandbox's journal, the recipients'
acts) and are kept apart, so that ``findings`` can hold them against each other.
Fails: as the chapters of ``story`` do; a projection that never catches up is left for the findings to tell.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from services.standalone import story
from services.standalone.audit import Ledger, Witnessed, read_ledger, witness
from services.standalone.recipients import Acts, Letter, act, read_letters
from services.standalone.sandbox.behaviour import Behaviour, behaviour_of
from services.standalone.sandbox.journal import Entry, What
from services.standalone.scene import Scene
from services.standalone.story import Imported, Stats, StoryFailed

SETTLE_TIMEOUT_S = 25.0
LATER_LOOK_S = 0.7
"""After the figures agree, how long to wait for a surplus to show."""


@dataclass(frozen=True, slots=True)
class MainRun:
    """The main campaign, over and done."""

    campaign_id: int
    imported: Imported
    launched_at: float
    stats: Stats
    ledger: Ledger
    journal: tuple[Entry, ...]
    seen: Witnessed
    letters: tuple[Letter, ...]
    acts: Acts

    @property
    def emails_per_s(self) -> float:
        """Mails taken at their first attempt, by the time from the launch to the last of them."""
        first = [
            entry.at
            for entry in self.journal
            if entry.what is What.ACCEPTED and entry.recipient not in self.seen.deferred
        ]
        return len(first) / (max(first) - self.launched_at) if first else 0.0


@dataclass(frozen=True, slots=True)
class FollowUp:
    """The second campaign, over and done."""

    campaign_id: int
    stats: Stats
    ledger: Ledger
    seen: Witnessed


async def run_main(scene: Scene, rows: int) -> MainRun:
    """From the CSV to what the recipients did."""
    screen, rest = scene.screen, scene.rest
    screen.step(f"Importing {rows} contacts (CSV with Japanese names, mobile addresses, some invalid rows)")
    imported = await story.import_contacts(rest, screen, "newsletter", story.sample(rows), rows)
    screen.step("Publishing an MJML template")
    version = await story.publish_template(rest, "newsletter", "mjml", story.SUBJECT, story.newsletter())
    screen.say(f"{len(version['links'])} links; merge fields: {', '.join(version['fields'])}")
    screen.step(f"Verifying the domain {scene.domain}")
    verified = await story.verify_domain(rest, scene.domain, scene.plan.places.sandbox)
    screen.say(f"{len(verified['dns_records'])} records published in the sandbox's DNS; DKIM keys found there")
    screen.step("Launching the campaign")
    campaign_id = await story.create_campaign(rest, "新茶 2026", version["id"], imported.list_id, scene.domain)
    offset = scene.journal_size()
    launched = await rest.post(f"/v1/campaigns/{campaign_id}/launch")
    await story.follow(rest, screen, campaign_id)
    screen.step("Waiting for what comes back: DSNs and a feedback-loop report")
    await _reports(scene, campaign_id, offset)
    journal = tuple(scene.journal_since(offset))
    screen.step("Recipients read their mail: opens, clicks, one-click unsubscribes")
    accepted = [entry for entry in journal if entry.what is What.ACCEPTED]
    letters = tuple(read_letters(accepted, scene.mails, scene.plan.url("tracker")))
    with screen.bar("recipients", len(letters)) as bar:
        acts = await act(letters, bar.at)
    stats = await _projected(scene, campaign_id, acts)
    ledger = await read_ledger(scene.plan.database_url, campaign_id)
    at = datetime.fromisoformat(launched["launched_at"]).timestamp()
    return MainRun(campaign_id, imported, at, stats, ledger, journal, witness(journal), letters, acts)


async def run_follow_up(scene: Scene, main: MainRun) -> FollowUp:
    """A short text mail to the same list, after all that."""
    scene.screen.step("A second campaign to the same list: who bounced, complained or unsubscribed gets nothing")
    version = await story.publish_template(scene.rest, "last-day", "text", story.FOLLOW_UP_SUBJECT, story.FOLLOW_UP)
    campaign_id = await story.create_campaign(scene.rest, "最終日", version["id"], main.imported.list_id, scene.domain)
    offset = scene.journal_size()
    await scene.rest.post(f"/v1/campaigns/{campaign_id}/launch")
    stats = await story.follow(scene.rest, scene.screen, campaign_id)
    ledger = await read_ledger(scene.plan.database_url, campaign_id)
    return FollowUp(campaign_id, stats, ledger, witness(scene.journal_since(offset)))


async def _reports(scene: Scene, campaign_id: int, offset: int) -> None:
    """Wait until the sandbox has sent its reports and the campaign's figures show them."""
    taken = [entry.recipient for entry in scene.journal_since(offset) if entry.what is What.ACCEPTED]
    returned = sum(behaviour_of(recipient) is Behaviour.RETURNED for recipient in taken)
    complaints = sum(behaviour_of(recipient) is Behaviour.COMPLAINT for recipient in taken)

    async def shown() -> bool:
        seen = witness(scene.journal_since(offset))
        sent = len(seen.returned) + len(seen.complained) + seen.lost_reports >= returned + complaints
        stats = await scene.rest.get(f"/v1/campaigns/{campaign_id}/stats")
        refused = len(seen.rejected) + len(seen.returned)
        return sent and int(stats["complained"]) >= len(seen.complained) and int(stats["bounced"]) >= refused

    await _settle(scene, "the reports", shown)
    scene.screen.say(f"{returned} DSNs, {complaints} complaint")


async def _projected(scene: Scene, campaign_id: int, acts: Acts) -> Stats:
    """The stats when the tracker's events are in them, and a moment later."""
    stats: Stats = {}

    async def shown() -> bool:
        nonlocal stats
        stats = await scene.rest.get(f"/v1/campaigns/{campaign_id}/stats")
        figures = (stats["opened"], stats["clicked"], stats["unsubscribed"])
        return figures == (len(acts.opened), len(acts.clicked), len(acts.unsubscribed))

    await _settle(scene, "the projections", shown)
    await asyncio.sleep(LATER_LOOK_S)
    await shown()
    return stats


async def _settle(scene: Scene, what: str, holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait; what does not come about is for the findings to tell, with figures."""
    try:
        await story.wait_until(what, holds, SETTLE_TIMEOUT_S)
    except StoryFailed as error:
        scene.screen.report(str(error))
