"""Sending domains: keys made here, records to publish, the check that they are there."""

from typing import Annotated, Any

import dns.asyncresolver
import dns.exception
import dns.nameserver
from fastapi import APIRouter, Query, Request

from hayabin.database.sealing import seal
from hayabin.settings import secret_bytes
from services.api.access import Db, Principal, ReadDomains, Scope, WriteDomains
from services.api.dkim_keys import new_keys, record
from services.api.forms import Form, Id, Line, address_of
from services.api.paging import Cursor, Limit, after, page
from services.api.problems import Problem, not_found
from services.api.settings import ApiSettings
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/domains", tags=["domains"], route_class=TransactionRoute)
_QUESTION_S = 5.0


class DomainForm(Form):
    """A domain to send from."""

    name: Line


async def _shown(request: Request, db: Db, who: Principal, domain_id: int) -> dict[str, Any]:
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
    sources = await db.fetch("SELECT DISTINCT address FROM pool_sources ORDER BY address")
    settings: ApiSettings = request.app.state.settings
    name = domain["name"]
    ranges = " ".join(f"ip{6 if ':' in row['address'] else 4}:{row['address']}" for row in sources)
    records = [
        {"name": f"{key['selector']}._domainkey.{name}", "type": "TXT",
         "value": record(key["algorithm"], key["public_key"]), "purpose": f"DKIM {key['algorithm']}"}
        for key in keys
    ]  # fmt: skip
    records += [
        {"name": settings.return_path_domain, "type": "TXT", "value": f"v=spf1 {ranges} -all".replace("  ", " "),
         "purpose": "SPF of the return path"},
        {"name": f"_dmarc.{name}", "type": "TXT", "value": "v=DMARC1; p=none", "purpose": "DMARC"},
    ]  # fmt: skip
    return {**dict(domain), "dns_records": records}


@router.post("", status_code=201, operation_id="addDomain")
async def create(request: Request, db: Db, who: WriteDomains, form: DomainForm) -> dict[str, Any]:
    """Add a domain; its DKIM keys (RSA-2048 and Ed25519) are made now, and the records to publish are in the answer."""
    name = address_of(f"postmaster@{form.name.lower().rstrip('.')}", "#/name").domain
    domain_id = await db.fetchval(
        "INSERT INTO domains (tenant_id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING id", who.tenant_id, name
    )
    if domain_id is None:
        raise Problem(409, "name-taken", "You have this domain already.")
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
    return await _shown(request, db, who, domain_id)


@router.get("", operation_id="listDomains")
async def listed(db: Db, who: ReadDomains, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    """Domains in order of id."""
    rows = await db.fetch(
        "SELECT id, name, verified_at, created_at FROM domains WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3",
        who.tenant_id,
        after(cursor),
        limit + 1,
    )
    return page(rows, limit)


@router.get("/{domain_id}", operation_id="getDomain")
async def get(request: Request, db: Db, who: ReadDomains, domain_id: Id) -> dict[str, Any]:
    """A domain and the DNS records to publish for it."""
    return await _shown(request, db, who, domain_id)


@router.post("/{domain_id}/verify", operation_id="verifyDomain")
async def verify(
    request: Request,
    db: Db,
    who: WriteDomains,
    domain_id: Id,
    override: Annotated[bool, Query(description="Take it as verified without looking (platform:admin)")] = False,
) -> dict[str, Any]:
    """Look the DKIM records up; verified when each is published as shown."""
    shown = await _shown(request, db, who, domain_id)
    if override and Scope.PLATFORM_ADMIN not in who.scopes:
        raise Problem(403, "missing-scope", f"Only a key with the scope {Scope.PLATFORM_ADMIN} may override.")
    if not override:
        wanted = [item for item in shown["dns_records"] if item["purpose"].startswith("DKIM")]
        missing = [item["name"] for item in wanted if not await _published(request.app.state.settings, item)]
        if missing:
            raise Problem(
                409,
                "records-missing",
                "Not every DKIM record is published as shown.",
                errors=[{"pointer": f"dns:{name}", "message": "missing or different"} for name in missing],
            )
    await db.execute("UPDATE domains SET verified_at = COALESCE(verified_at, now()) WHERE id = $1", domain_id)
    return await _shown(request, db, who, domain_id)


async def _published(settings: ApiSettings, item: dict[str, str]) -> bool:
    servers = [part.strip() for part in settings.dns_servers.split(",") if part.strip()]
    resolver = dns.asyncresolver.Resolver(configure=not servers)
    if servers:
        resolver.nameservers = [
            dns.nameserver.Do53Nameserver(host, int(port or 53))
            for host, _, port in (s.partition(":") for s in servers)
        ]
    resolver.lifetime = _QUESTION_S
    try:
        answer = await resolver.resolve(item["name"], "TXT")
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return False
    except dns.exception.DNSException as error:
        raise Problem(
            503, "dns-unavailable", f"The DNS did not answer for {item['name']}.", headers={"Retry-After": "5"}
        ) from error
    return any(b"".join(text.strings).decode("ascii", "replace") == item["value"] for text in answer)
