"""Sending domains: keys made here, records to publish, the check that they are there."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from hayabin.database.sealing import seal
from hayabin.database.tenancy import enter
from hayabin.settings import secret_bytes
from services.api.access import Db, Principal, ReadDomains, Scope, WriteDomains, require_scope
from services.api.dkim_keys import new_keys
from services.api.dns_records import published, records_of
from services.api.forms import Form, Id, Line, address_of
from services.api.paging import Cursor, Limit, page_of
from services.api.problems import Problem, not_found
from services.api.settings import ApiSettings
from services.api.source_ips import USED_ADDRESSES_SQL
from services.api.transaction import CONNECTION_S, TransactionRoute, before_transaction

router = APIRouter(prefix="/v1/domains", tags=["domains"], route_class=TransactionRoute)


_TRUE = ("true", "1", "on", "t", "y", "yes")  # what pydantic takes for true


class DomainForm(Form):
    """A domain to send from."""

    name: Line


async def _shown(settings: ApiSettings, db: Db, who: Principal, domain_id: int) -> dict[str, Any]:
    domain = await db.fetchrow(
        "SELECT id, name, verified_at, created_at FROM domains WHERE id = $1 AND tenant_id = $2",
        domain_id,
        who.tenant_id,
    )
    if domain is None:
        raise not_found("domain")
    keys = await db.fetch(
        "SELECT selector, algorithm, public_key FROM dkim_keys WHERE domain_id = $1 AND retired_at IS NULL ORDER BY id",
        domain_id,
    )
    sources = await db.fetch(USED_ADDRESSES_SQL)
    records = records_of(settings, domain["name"], [dict(key) for key in keys], [row["address"] for row in sources])
    return {**dict(domain), "dns_records": records}


@router.post("", status_code=201, operation_id="addDomain")
async def create(request: Request, db: Db, who: WriteDomains, form: DomainForm) -> dict[str, Any]:
    """Add a domain; its DKIM keys (RSA-2048 and Ed25519) are made now, and the records to publish are in the answer."""
    name = address_of(f"postmaster@{form.name.lower().rstrip('.')}", "#/name").domain
    domain_id = await db.fetchval(
        "INSERT INTO domains (tenant_id, name) VALUES ($1, $2) RETURNING id", who.tenant_id, name
    )
    settings: ApiSettings = request.app.state.settings
    for key in await new_keys():
        selector = f"hb{domain_id}{'r' if key.algorithm.startswith('rsa') else 'e'}"
        sealed = seal(secret_bytes(settings.master_key), who.tenant_id, f"dkim:{name}:{selector}", key.private_der)
        await db.execute(
            "INSERT INTO dkim_keys (domain_id, selector, algorithm, public_key, private_key) VALUES ($1,$2,$3,$4,$5)",
            domain_id,
            selector,
            key.algorithm,
            key.public,
            sealed,
        )
    return await _shown(request.app.state.settings, db, who, domain_id)


@router.get("", operation_id="listDomains")
async def listed(db: Db, who: ReadDomains, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    """Domains in order of id."""
    return await page_of(
        db, who.tenant_id, "SELECT id, name, verified_at, created_at FROM domains WHERE tenant_id = $1", limit, cursor
    )


@router.get("/{domain_id}", operation_id="getDomain")
async def get(request: Request, db: Db, who: ReadDomains, domain_id: Id) -> dict[str, Any]:
    """A domain and the DNS records to publish for it."""
    return await _shown(request.app.state.settings, db, who, domain_id)


async def _look_up(request: Request, who: Principal) -> list[str]:
    """The names of the DKIM records that are not published as shown; asked while no transaction is open."""
    require_scope(who, Scope.DOMAINS_WRITE)
    settings: ApiSettings = request.app.state.settings
    domain_id = request.path_params["domain_id"]
    if request.query_params.get("override") in _TRUE or not domain_id.isdecimal() or len(domain_id) > 18:
        return []  # the endpoint answers
    pool = request.app.state.database.pool
    async with pool.acquire(timeout=CONNECTION_S) as db, db.transaction(readonly=True):
        await enter(db, who.tenant_id)
        shown = await _shown(settings, db, who, int(domain_id))
    wanted = [item for item in shown["dns_records"] if item["purpose"].startswith("DKIM")]
    found = await asyncio.gather(*(published(settings, item) for item in wanted))
    return [item["name"] for item, is_there in zip(wanted, found, strict=True) if not is_there]


@router.post("/{domain_id}/verify", operation_id="verifyDomain")
@before_transaction(_look_up)
async def verify(
    request: Request,
    db: Db,
    who: WriteDomains,
    domain_id: Id,
    override: Annotated[bool, Query(description="Take it as verified without looking (platform:admin)")] = False,
) -> dict[str, Any]:
    """Look the DKIM records up; verified when each is published as shown."""
    shown = await _shown(request.app.state.settings, db, who, domain_id)
    missing: list[str] = request.state.prepared
    if override:
        require_scope(who, Scope.PLATFORM_ADMIN)
    elif missing:
        raise Problem(
            409,
            "records-missing",
            "Not every DKIM record is published as shown.",
            errors=[{"pointer": f"dns:{name}", "message": "missing or different"} for name in missing],
        )
    verified_at = await db.fetchval(
        "UPDATE domains SET verified_at = COALESCE(verified_at, now()) WHERE id = $1 RETURNING verified_at", domain_id
    )
    return {**shown, "verified_at": verified_at}
