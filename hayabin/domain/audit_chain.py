"""The chain of a tenant's audit log: how a line becomes bytes, how lines are linked, and how a chain is checked.

Promises: the same line gives the same bytes in every release (``FORMAT`` is a part of them); a link is the SHA-256 of
the link before, the place in the chain and the line, so no line can be changed, taken out, put in or moved without that
every later link changes. Fails: never; ``broken`` says what does not fit and where.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

FORMAT = "hayabin-audit-1"
ROOT = bytes(32)
"""What stands before the first link."""


class Break(StrEnum):
    """What is wrong with a chain."""

    CHANGED = "changed"  # the line is not the one that was linked
    MISSING = "missing"  # a line is gone: the numbers have a gap, or the last ones are not there
    UNLINKED = "unlinked"  # the line says another predecessor than the one that stands there
    WRONG_HEAD = "wrong_head"  # the head is not the last link
    BEYOND_HEAD = "beyond_head"  # there are lines that the head does not know
    WRONG_ANCHOR = "wrong_anchor"  # the link that was written down elsewhere is not the one here


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Who did what; ``detail`` as it comes out of the database."""

    tenant_id: int
    entry_id: int
    at: datetime
    actor: str
    key_id: int | None
    user_id: int | None
    action: str
    object_type: str
    object_id: str
    trace_id: str
    ip: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Link:
    """A line at its place in the chain, as it is stored."""

    seq: int
    prev_hash: bytes
    hash: bytes
    line: Line


@dataclass(frozen=True, slots=True)
class Broken:
    """The first place where a chain does not hold."""

    seq: int
    what: Break
    detail: str


def canonical(seq: int, line: Line) -> bytes:
    """The line and its place as bytes: a JSON array of fixed order, members of objects sorted, times in UTC."""
    values = [
        FORMAT, line.tenant_id, seq, line.entry_id, line.at.astimezone(UTC).isoformat(timespec="microseconds"),
        line.actor, line.key_id, line.user_id, line.action, line.object_type, line.object_id, line.trace_id, line.ip,
        line.detail,
    ]  # fmt: skip
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def linked(prev_hash: bytes, seq: int, line: Line) -> bytes:
    """The hash of the link that follows ``prev_hash``."""
    return hashlib.sha256(prev_hash + canonical(seq, line)).digest()


def broken(link: Link, after_seq: int, after_hash: bytes) -> Broken | None:
    """What is wrong with a link that is to follow another one."""
    expected = after_seq + 1
    if link.seq != expected:
        return Broken(expected, Break.MISSING, f"line {expected} is missing; the next one is {link.seq}")
    if link.hash != linked(link.prev_hash, link.seq, link.line):
        return Broken(link.seq, Break.CHANGED, f"line {link.seq} ({link.line.action}) is not what was written")
    if link.prev_hash != after_hash:
        return Broken(link.seq, Break.UNLINKED, f"line {link.seq} does not follow line {after_seq}")
    return None
