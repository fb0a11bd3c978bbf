"""The chapters of a campaign, each told through the REST API alone, as a client's program would.

Promises: a chapter returns when what it asked for has happened (the import is through, the domain is verified …).
Fails: ``RestFailed`` with the API's words, ``StoryFailed`` where something that was accepted did not come about.
"""

import asyncio
import csv
import io
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from services.standalone.environment import POOL
from services.standalone.rest import Rest
from services.standalone.sandbox.main import ZONE
from services.standalone.sandbox.zone import Records, publish
from services.standalone.screen import Screen

POLL_S = 0.15
CHAPTER_TIMEOUT_S = 60.0
ERRORS_SHOWN = 5
SUBJECT = "{{ name }}様、今年の新茶が届きました / This year's first tea"
FOLLOW_UP_SUBJECT = "{{ name }}様、本日までのお知らせ / Last day"
FOLLOW_UP = (
    "{{ name }}様\n\n新茶の送料無料は本日までです。\nhttps://tea.example/shop\n\n配信停止: {{ unsubscribe_url }}\n"
)

Stats = dict[str, Any]


class StoryFailed(Exception):
    """Something did not come about in time."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of the CSV."""

    list_id: int
    rows: int
    contacts: int
    invalid: int


def sample(rows: int) -> bytes:
    """The first rows of the sample's contacts, as a CSV file."""
    text = (files("services.standalone.sample") / "contacts.csv").read_text(encoding="utf-8")
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\r\n")
    for number, row in enumerate(csv.reader(io.StringIO(text))):
        if number <= rows:
            writer.writerow(row)
    return target.getvalue().encode("utf-8-sig")  # with the BOM that Excel writes


def newsletter() -> str:
    """The sample's MJML."""
    return (files("services.standalone.sample") / "newsletter.mjml").read_text(encoding="utf-8")


async def import_contacts(rest: Rest, screen: Screen, name: str, content: bytes, rows: int) -> Imported:
    """Upload the CSV, follow the job, show the rows that were refused."""
    made = await rest.post("/v1/lists", {"name": name, "description": "made by hayabin"})
    job = await rest.upload("/v1/imports", content, "text/csv", list_id=made["id"], filename="contacts.csv")
    with screen.bar("rows", rows) as bar:

        async def finished() -> bool:
            nonlocal job
            job = await rest.get(f"/v1/imports/{job['id']}")
            bar.at(job["rows_read"])
            return job["state"] in {"completed", "failed"}

        await wait_until("the import", finished)
    if job["state"] == "failed":
        raise StoryFailed(f"the import failed: {job['error']}")
    refused = await rest.get(f"/v1/imports/{job['id']}/errors", limit=ERRORS_SHOWN)
    subscribed = (await rest.get(f"/v1/lists/{made['id']}"))["subscribed"]
    repeated = job["rows_read"] - subscribed - job["rows_invalid"]
    screen.say(
        f"{job['rows_read']} rows read, {subscribed} contacts on the list, {repeated} rows of known addresses, "
        f"{job['rows_invalid']} rows refused:"
    )
    for error in refused["items"]:
        screen.report(f"  line {error['line']:>4}  {error['reason']:<22} {error['value']}")
    return Imported(made["id"], job["rows_read"], subscribed, job["rows_invalid"])


async def publish_template(rest: Rest, name: str, kind: str, subject: str, source: str) -> dict[str, Any]:
    """Create a template, publish its first version; returns the version with its ``fields`` and ``links``."""
    template = await rest.post("/v1/templates", {"name": name, "kind": kind, "subject": subject, "source": source})
    version: dict[str, Any] = template["version"]
    await rest.post(f"/v1/templates/{template['id']}/versions/{version['number']}/publish")
    return version


async def verify_domain(rest: Rest, name: str, sandbox: Path) -> dict[str, Any]:
    """Add a domain, publish its records in the sandbox's DNS, and have the API look them up."""
    domain = await rest.post("/v1/domains", {"name": name})
    records: Records = {}
    for record in domain["dns_records"]:
        records.setdefault(record["name"], {}).setdefault(record["type"], []).append(record["value"])
    publish(sandbox / ZONE, records)
    verified: dict[str, Any] = await rest.post(f"/v1/domains/{domain['id']}/verify")
    return verified


async def create_campaign(rest: Rest, name: str, version_id: int, list_id: int, domain: str) -> int:
    """A draft; returns its id."""
    campaign = await rest.post(
        "/v1/campaigns",
        {
            "name": name,
            "template_version_id": version_id,
            "list_id": list_id,
            "from_name": "早便茶舗",
            "from_address": f"news@{domain}",
            "pool": POOL,
        },
    )
    return int(campaign["id"])


async def follow(rest: Rest, screen: Screen, campaign_id: int) -> Stats:
    """Show the campaign's progress until it is completed; returns the stats."""
    stats: Stats = {"filling": True}

    async def filled() -> bool:
        nonlocal stats
        stats = await rest.get(f"/v1/campaigns/{campaign_id}/stats")
        return not stats["filling"]

    await wait_until("the audience", filled)
    with screen.bar("sending", stats["audience"]) as bar:

        async def completed() -> bool:
            nonlocal stats
            stats = await rest.get(f"/v1/campaigns/{campaign_id}/stats")
            final = stats["audience"] - stats["due"]
            bar.at(final, f"{stats['deferrals']} deferrals, {stats['bounced']} bounced")
            return str(stats["state"]) == "completed"

        await wait_until("the campaign", completed)
    return stats


async def wait_until(what: str, holds: Callable[[], Awaitable[bool]], timeout_s: float = CHAPTER_TIMEOUT_S) -> None:
    """Look again and again.

    Raises:
        StoryFailed: it did not come about in time.
    """
    deadline = time.monotonic() + timeout_s
    while not await holds():
        if time.monotonic() > deadline:
            raise StoryFailed(f"{what} was not through after {timeout_s:.0f} s")
        await asyncio.sleep(POLL_S)
