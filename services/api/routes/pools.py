"""IP pools and their source IPs, added and removed while mail is going out."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from services.api import source_ips
from services.api.access import Db, PlatformAdmin, ReadCampaigns
from services.api.forms import Form, Line
from services.api.lane_targets import host_name_of, locked_pool, refused, source_ip_of
from services.api.problems import Problem, not_found
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/ip-pools", tags=["ip pools"], route_class=TransactionRoute)
_COLUMNS = "name, description, state, created_at"

# Whatever may still send mail. A held schedule (failed) goes along but does not stand in the way by itself.
_USED_SQL = """
SELECT (SELECT count(*) FROM campaigns WHERE pool = $1 AND state IN ('draft', 'scheduled', 'sending', 'paused'))
     + (SELECT count(*) FROM sign_up_forms WHERE pool = $1 AND deleted_at IS NULL)"""
_MOVE_SQL = """
WITH forms AS (UPDATE sign_up_forms SET pool = $2, updated_at = now() WHERE pool = $1),
moved AS (UPDATE campaigns SET pool = $2, updated_at = now()
    WHERE pool = $1 AND state IN ('draft', 'scheduled', 'sending', 'paused', 'failed') RETURNING id)
SELECT count(*) FROM moved"""


class PoolForm(Form):
    """An IP pool."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
    description: Line = ""


class SourceForm(Form):
    """A source IP, and the name that it says in EHLO; its PTR record should say the same."""

    address: Annotated[Line, Field(description="An IPv4 or IPv6 address")]
    ehlo_name: Annotated[Line, Field(description="A host name")]


@router.get("", operation_id="listIpPools")
async def listed(db: Db, _who: ReadCampaigns) -> dict[str, Any]:
    """Pools with their source IPs, from the dispatchers' settings and from here.

    A source IP is `active` (a dispatcher uses it), `waiting` (for a dispatcher; `problem` says why none took it) or
    `removed`.
    """
    pools = await db.fetch(f"SELECT {_COLUMNS} FROM ip_pools ORDER BY name")
    sources = await source_ips.sources_of(db)
    return {
        "items": [
            {**dict(pool), "sources": [source for source in sources if source["pool"] == pool["name"]]}
            for pool in pools
        ],
        "next_cursor": None,
    }


@router.post("", status_code=201, operation_id="createIpPool")
async def create(db: Db, _who: PlatformAdmin, form: PoolForm) -> dict[str, Any]:
    """Create a pool, or take one back that was removed; a dispatcher with `HAYABIN_POOL` of this name serves it."""
    row = await db.fetchrow(
        "INSERT INTO ip_pools (name, description) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET state = 'active', "
        f"description = excluded.description WHERE ip_pools.state = 'removed' RETURNING {_COLUMNS}",
        form.name,
        form.description,
    )
    if row is None:
        raise Problem(409, "name-taken", "There is a pool of this name.")
    return dict(row)


@router.delete("/{pool}", operation_id="removeIpPool")
async def remove(
    db: Db,
    _who: PlatformAdmin,
    pool: str,
    move_to: Annotated[
        str | None, Query(min_length=1, max_length=40, description="The pool that its campaigns go on with")
    ] = None,
) -> dict[str, Any]:
    """Remove a pool: within 2 seconds nothing begins from its source IPs, and no campaign can choose it.

    Campaigns that may still send (drafts, scheduled, sending, paused) need another pool: `move_to`. Their mail that is
    on the way already is rendered again for that pool, within half a minute.
    """
    if move_to == pool:
        raise refused("query:move_to", "another pool than the one that is removed")
    for name in sorted({pool, move_to or pool}):  # one lock order for everybody: no deadlock
        if name == pool:
            await locked_pool(db, pool)
        elif not await db.fetchval("SELECT true FROM ip_pools WHERE name = $1 AND state = 'active' FOR SHARE", name):
            raise refused("query:move_to", "there is no such active pool")
    used = await db.fetchval(_USED_SQL, pool)
    if used and move_to is None:
        raise Problem(
            409,
            "pool-in-use",
            f"{used} campaigns or forms may still send from this pool: name another one with ?move_to=.",
        )
    moved = await db.fetchval(_MOVE_SQL, pool, move_to) if move_to is not None else 0
    row = await db.fetchrow(f"UPDATE ip_pools SET state = 'removed' WHERE name = $1 RETURNING {_COLUMNS}", pool)
    return {**dict(row or {}), "moved_campaigns": moved}


@router.post("/{pool}/source-ips", status_code=201, operation_id="addSourceIp")
async def add_source(db: Db, _who: PlatformAdmin, pool: str, form: SourceForm) -> dict[str, Any]:
    """Add a source IP to a pool, or take one back that was removed.

    A dispatcher of the pool whose machine has the address takes it within seconds; until then it is `waiting`. An
    address that a SOCKS5 proxy owns is given to its dispatcher by the settings, not here.
    """
    address = source_ip_of(form.address, "#/address")
    ehlo_name = host_name_of(form.ehlo_name, "#/ehlo_name")
    await locked_pool(db, pool)
    return await source_ips.add(db, pool, address, ehlo_name)


@router.delete("/{pool}/source-ips/{address}", status_code=204, operation_id="removeSourceIp")
async def remove_source(db: Db, _who: PlatformAdmin, pool: str, address: str) -> None:
    """Remove a source IP from a pool: within 2 seconds no SMTP transaction begins from it, also where a setting has it.

    What is under way is finished; the rest goes by the pool's other IPs.
    """
    canonical = source_ip_of(address, "path:address")
    await locked_pool(db, pool)
    if not await source_ips.remove(db, pool, canonical):
        raise not_found("source IP in this pool")
