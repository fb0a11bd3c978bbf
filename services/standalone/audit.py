"""Holds a campaign's report against three witnesses: the ledger, the sandbox's journal, and what the recipients did.

Promises: each finding is one sentence that holds or does not; none is left out because another failed. Recipients are
compared one by one, not only as sums.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import asyncpg

from hayabin.domain.message import MessageState
from services.standalone.sandbox.behaviour import canonical
from services.standalone.sandbox.journal import Entry, What

SHOWN_MAX = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence about the run, and whether it is true."""

    text: str
    holds: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Ledger:
    """What Postgres says of a campaign, read apart from the API."""

    audience: int
    recipients: int
    states: Mapping[str, int]
    accepted_once: frozenset[str]
    """Addresses (keys) that some attempt's outcome was ``accepted`` for."""
    bounced: frozenset[str]
    suppressed: frozenset[str]


@dataclass(slots=True)
class Witnessed:
    """What the sandbox says that it did, by recipient."""

    accepted: Counter[str] = field(default_factory=Counter)
    deferred: set[str] = field(default_factory=set)
    rejected: dict[str, str] = field(default_factory=dict)
    returned: set[str] = field(default_factory=set)
    complained: set[str] = field(default_factory=set)
    lost_reports: int = 0
    clients: set[tuple[str, str]] = field(default_factory=set)


def witness(entries: Iterable[Entry]) -> Witnessed:
    """Sum the journal up."""
    seen = Witnessed()
    for entry in entries:
        recipient = canonical(entry.recipient)
        match entry.what:
            case What.ACCEPTED:
                seen.accepted[recipient] += 1
                seen.clients.add((entry.peer, entry.ehlo))
            case What.DEFERRED:
                seen.deferred.add(recipient)
            case What.REJECTED:
                seen.rejected[recipient] = entry.reply
            case What.DSN_SENT:
                seen.returned.add(recipient)
            case What.COMPLAINT_SENT:
                seen.complained.add(recipient)
            case What.REPORT_LOST:
                seen.lost_reports += 1
    return seen


async def read_ledger(url: str, campaign_id: int) -> Ledger:
    """Read the campaign's rows."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        audience = await connection.fetchval("SELECT audience FROM campaigns WHERE id = $1", campaign_id)
        recipients = await connection.fetchval("SELECT count(*) FROM recipients WHERE campaign_id = $1", campaign_id)
        rows = await connection.fetch("SELECT id, address_key, state FROM messages WHERE campaign_id = $1", campaign_id)
        accepted = await connection.fetch(
            "SELECT m.address_key FROM attempts a JOIN messages m ON m.id = a.message_id "
            "WHERE m.campaign_id = $1 AND a.state = 'accepted'",
            campaign_id,
        )
    finally:
        await connection.close()
    return Ledger(
        audience=audience,
        recipients=recipients,
        states=Counter(row["state"] for row in rows),
        accepted_once=frozenset(row["address_key"] for row in accepted),
        bounced=frozenset(row["address_key"] for row in rows if row["state"] == MessageState.BOUNCED),
        suppressed=frozenset(row["address_key"] for row in rows if row["state"] == MessageState.SUPPRESSED),
    )


def equal(text: str, left: object, right: object) -> Finding:
    """A finding that two figures are the same."""
    return Finding(f"{text}: {left}", holds=left == right, detail="" if left == right else f"but {right}")


def same(text: str, left: Iterable[str], right: Iterable[str]) -> Finding:
    """A finding that two groups of people are the same."""
    one, other = set(left), set(right)
    if one == other:
        return Finding(f"{text}: {len(one)}", holds=True)
    return Finding(
        f"{text}: {len(one)}",
        holds=False,
        detail=f"but {len(other)}; only on one side: {', '.join(sorted(one ^ other)[:SHOWN_MAX])} …",
    )


def nobody(text: str, people: Iterable[str]) -> Finding:
    """A finding that a group is empty."""
    found = sorted(people)
    return Finding(text, holds=not found, detail=f"but {len(found)}: {', '.join(found[:SHOWN_MAX])}" if found else "")
