"""How large a campaign's audience is now.

Promises: counted only when somebody asks: a launch that nothing depends on does not.
Fails: ``TooSlow``, ``SegmentMissing``, ``SegmentTooDeep`` of ``hayabin.database.segments``; database errors come out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hayabin.database.audience_count import count
from hayabin.database.engine import Connection
from hayabin.database.tenancy import as_services


@dataclass(frozen=True, slots=True)
class AudienceSize:
    """How many."""

    audience: int
    """Who would be in the ledger."""
    will_get: int
    """Who of them would get a mail."""


async def size_of(connection: Connection, campaign: Mapping[str, Any]) -> AudienceSize:
    """Count, by a connection that sees all tenants; ``campaign`` is a whole row."""
    counted = await count(connection, campaign)
    return AudienceSize(counted["audience"], counted["will_get"])


async def size_in_request(connection: Connection, campaign: Mapping[str, Any]) -> AudienceSize:
    """The same within a request, outside of its tenant's role: the statements name the tenant, and are faster so."""
    async with as_services(connection):
        return await size_of(connection, campaign)
