"""IP pools and the source IPs that dispatchers reported."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from services.api.access import Db, PlatformAdmin, ReadCampaigns
from services.api.forms import Form, Line
from services.api.problems import Problem
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/ip-pools", tags=["ip pools"], route_class=TransactionRoute)


class PoolForm(Form):
    """An IP pool."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
    description: Line = ""


@router.get("", operation_id="listIpPools")
async def listed(db: Db, _who: ReadCampaigns) -> dict[str, Any]:
    """Pools with their source IPs."""
    pools = await db.fetch("SELECT name, description, created_at FROM ip_pools ORDER BY name")
    sources = await db.fetch("SELECT pool, address, ehlo_name, seen_at FROM pool_sources ORDER BY address")
    return {
        "items": [
            {**dict(pool), "sources": [dict(source) for source in sources if source["pool"] == pool["name"]]}
            for pool in pools
        ],
        "next_cursor": None,
    }


@router.post("", status_code=201, operation_id="createIpPool")
async def create(db: Db, _who: PlatformAdmin, form: PoolForm) -> dict[str, Any]:
    """Create a pool; a dispatcher with `HAYABIN_POOL` of this name serves it."""
    row = await db.fetchrow(
        "INSERT INTO ip_pools (name, description) VALUES ($1, $2) ON CONFLICT DO NOTHING "
        "RETURNING name, description, created_at",
        form.name,
        form.description,
    )
    if row is None:
        raise Problem(409, "name-taken", "There is a pool of this name.")
    return dict(row)
