"""The DNS records that a sending domain needs, and the question whether they are there.

Promises: what is shown is what is looked for, character by character.
Fails: ``Problem`` 503 when no name server answers in time.
Source: RFC 6376 §3.6.1 (DKIM), RFC 7208 §4.5 (SPF, of the return path), RFC 7489 §6.3 (DMARC).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.resolver

from hayabin.domain.server_address import server_address
from services.api.dkim_keys import record
from services.api.problems import Problem
from services.api.settings import ApiSettings

LIFETIME_S = 5.0


def records_of(
    settings: ApiSettings, name: str, keys: Sequence[Mapping[str, Any]], sources: Sequence[str]
) -> list[dict[str, str]]:
    """What to publish: two DKIM keys and DMARC for the domain; SPF and MX of the return path for the operator."""
    ranges = "".join(f" ip{6 if ':' in address else 4}:{address}" for address in sources)
    return_path = settings.return_path_domain
    return [
        *(
            _record(f"{key['selector']}._domainkey.{name}", "TXT", record(key["algorithm"], key["public_key"]),
                    f"DKIM {key['algorithm']}")
            for key in keys
        ),
        _record(f"_dmarc.{name}", "TXT", "v=DMARC1; p=none", "DMARC"),
        _record(return_path, "TXT", f"v=spf1{ranges} -all", "SPF of the return path (once, by the operator)"),
        _record(return_path, "MX", f"10 {settings.bounce_hostname or return_path}.",
                "where bounces go (once, by the operator)"),
    ]  # fmt: skip


def _record(name: str, kind: str, value: str, purpose: str) -> dict[str, str]:
    return {"name": name, "type": kind, "value": value, "purpose": purpose}


async def published(settings: ApiSettings, item: Mapping[str, str]) -> bool:
    """Whether a TXT record is in the DNS as shown.

    Raises:
        Problem: see the module.
    """
    try:
        answer = await _resolver(settings.dns_servers).resolve(item["name"], "TXT")
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return False
    except (dns.exception.DNSException, OSError) as error:
        raise Problem(
            503, "dns-unavailable", f"The DNS did not answer for {item['name']}.", headers={"Retry-After": "5"}
        ) from error
    return any(b"".join(text.strings).decode("ascii", "replace") == item["value"] for text in answer)


def _resolver(servers_text: str) -> dns.asyncresolver.Resolver:
    servers = [part.strip() for part in servers_text.split(",") if part.strip()]
    resolver = dns.asyncresolver.Resolver(configure=not servers)
    if servers:
        resolver.nameservers = [dns.nameserver.Do53Nameserver(*server_address(server, 53)) for server in servers]
    resolver.lifetime = LIFETIME_S
    return resolver
