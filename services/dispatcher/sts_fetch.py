"""Fetches an MTA-STS policy over HTTPS.

Promises: the certificate is verified for ``mta-sts.<domain>``; no redirect is followed, no proxy or netrc of the
environment is used, nothing is decompressed; the body has at most ``MAX_POLICY_BYTES`` and the whole takes at most
``timeout_s``. Only addresses that our own lookup gave are connected to, private ones only if allowed: a policy host is
named by a stranger.
Fails with ``StsUnavailable``, which says why.
"""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import httpx

from services.dispatcher.dns_lookup import DnsLookup, DnsUnavailable, NoSuchName
from services.dispatcher.internet_address import is_public
from services.dispatcher.sts_policy import MAX_POLICY_BYTES, StsInvalid, StsPolicy, parse_policy
from services.dispatcher.tls_context import verifying_context

PATH: Final = "/.well-known/mta-sts.txt"
_MOST_ADDRESSES: Final = 4


class StsUnavailable(Exception):
    """No policy could be fetched."""


@dataclass(frozen=True, slots=True)
class FetchParameters:
    """How to fetch; ``ca_file`` has the CAs to trust instead of the public ones.

    Units: seconds.
    """

    port: int = 443
    ca_file: str = ""
    allow_private: bool = False
    ipv6: bool = False
    timeout_s: float = 60.0
    connect_timeout_s: float = 10.0


class StsFetcher:
    """Fetches policies, each over a connection of its own."""

    def __init__(self, lookup: DnsLookup, parameters: FetchParameters) -> None:
        """Prepare.

        Raises: OSError if the file of CAs cannot be read.
        """
        self._lookup = lookup
        self._parameters = parameters
        self._context = verifying_context(parameters.ca_file)

    async def fetch(self, domain: str, policy_id: str) -> tuple[StsPolicy, int]:
        """Give a domain's policy and its lifetime in seconds.

        Raises: StsUnavailable
        Source: RFC 8461 §3.3.
        """
        try:
            async with asyncio.timeout(self._parameters.timeout_s):
                body = await self._body(f"mta-sts.{domain}")
            return parse_policy(body, policy_id)
        except (StsInvalid, DnsUnavailable) as error:
            raise StsUnavailable(str(error)) from error
        except NoSuchName:
            raise StsUnavailable("the policy host does not exist") from None
        except TimeoutError:
            raise StsUnavailable("timed out") from None

    async def _body(self, host: str) -> bytes:
        failure = StsUnavailable("the policy host has no usable address")
        for address in await self._addresses(host):
            try:
                return await self._get(host, address)
            except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
                failure = StsUnavailable(f"{type(error).__name__}: {error}"[:300])
        raise failure

    async def _addresses(self, host: str) -> list[str]:
        found: list[str] = []
        for kind in ("A", "AAAA") if self._parameters.ipv6 else ("A",):
            records: tuple[Any, ...] = (await self._lookup.ask(host, kind)).records
            found += [str(record.address) for record in records]
        usable = [address for address in found if self._parameters.allow_private or is_public(address)]
        return usable[:_MOST_ADDRESSES]

    async def _get(self, host: str, address: str) -> bytes:
        bracketed = f"[{address}]" if ipaddress.ip_address(address).version == 6 else address
        port = self._parameters.port
        async with (
            httpx.AsyncClient(
                verify=self._context,
                trust_env=False,
                follow_redirects=False,
                timeout=httpx.Timeout(self._parameters.timeout_s, connect=self._parameters.connect_timeout_s),
            ) as client,
            client.stream(
                "GET",
                f"https://{bracketed}:{port}{PATH}",
                headers={"Host": host if port == 443 else f"{host}:{port}", "Accept-Encoding": "identity"},
                extensions={"sni_hostname": host},
            ) as response,
        ):
            if response.status_code != 200:
                raise StsUnavailable(f"HTTP status {response.status_code}")
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "text/plain":
                raise StsUnavailable("the policy is not text/plain")
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise StsUnavailable("the policy is compressed")
            return await _bounded(response.aiter_raw())


async def _bounded(pieces: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    async for piece in pieces:
        body += piece
        if len(body) > MAX_POLICY_BYTES:
            raise StsUnavailable("the policy is too large")
    return bytes(body)
