"""The MTA-STS policies of recipients' domains, found, fetched, kept.

Promises: ``policy`` never fails; what it gives is in force now. A policy that was fetched stays in force until its
``max_age`` ends, whatever becomes of the TXT record or of the policy host, unless a newer one was fetched: who can
suppress an answer cannot suppress the policy. A domain is looked at once at a time and, between looks, not at all: for
the TTL of its record (within bounds), for ``failure_ttl_s`` after a fetch that failed. Memory is bounded; with a store,
policies outlive the process.
Without a policy to fall back on, a failure to find one means that there is none: that is the RFC's trust on first use.
"""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from hayabin.telemetry.logging import get_logger
from services.dispatcher.dns_lookup import DnsLookup, DnsUnavailable, NoSuchName
from services.dispatcher.single_flight import SingleFlight
from services.dispatcher.sts_fetch import FetchParameters, StsFetcher, StsUnavailable
from services.dispatcher.sts_policy import StsInvalid, StsMode, StsPolicy, announced_id

__all__ = ["FetchParameters", "MtaSts", "StoredPolicy", "StsMode", "StsParameters", "StsPolicy", "StsStore"]

# "_mta-sts." and the domain must be a name of the DNS together.
_DOMAIN = re.compile(r"(?=.{1,244}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")


@dataclass(frozen=True, slots=True)
class StsParameters:
    """How to fetch, how long to rely on what is known.

    Units: seconds.
    """

    fetch: FetchParameters = field(default_factory=FetchParameters)
    failure_ttl_s: float = 300.0
    refresh_s: float = 86_400.0  # a policy is fetched again after a day, so that its end never comes near
    record_floor_s: float = 60.0
    record_ceiling_s: float = 3600.0
    cache_domains: int = 50_000
    at_once: int = 64


class StoredPolicy(NamedTuple):
    """A policy as it was fetched; times are Unix seconds."""

    policy: StsPolicy
    fetched_at_s: float
    expires_at_s: float


class StsStore(Protocol):
    """Where policies outlive the process. Does not raise: without the store one is as after a first start."""

    async def load(self, domain: str) -> StoredPolicy | None:
        """Give what was saved last for a domain."""

    async def save(self, domain: str, stored: StoredPolicy) -> None:
        """Keep a policy instead of the domain's last one."""


@dataclass(frozen=True, slots=True)
class _Known:
    stored: StoredPolicy | None
    look_again_s: float

    def in_force(self, now_s: float) -> StsPolicy | None:
        if self.stored is None or self.stored.expires_at_s <= now_s or self.stored.policy.mode is StsMode.NONE:
            return None
        return self.stored.policy


class MtaSts:
    """Policies with a cache; one for each process."""

    def __init__(
        self,
        lookup: DnsLookup,
        parameters: StsParameters | None = None,
        *,
        store: StsStore | None = None,
        clock: Callable[[], float] = time.time,
        fetcher: StsFetcher | None = None,
    ) -> None:
        """Prepare; ``clock`` gives Unix seconds, ``fetcher`` fetches instead of one made here.

        Raises: OSError if the file of CAs cannot be read.
        """
        self._parameters = parameters or StsParameters()
        self._lookup = lookup
        self._fetcher = fetcher or StsFetcher(lookup, self._parameters.fetch)
        self._store = store
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._under_way: SingleFlight[_Known] = SingleFlight()
        self._places = asyncio.Semaphore(self._parameters.at_once)

    async def policy(self, domain: str) -> StsPolicy | None:
        """Give the policy that holds for mail to a domain (A-labels); None if there is none.

        Source: RFC 8461 §3.1, §3.3, §5.1.
        """
        name = domain.lower().rstrip(".")
        if not _DOMAIN.fullmatch(name):
            return None
        known = self._known.get(name)
        if known is None or known.look_again_s <= self._clock():
            known = await self._under_way.run(name, lambda: self._look(name))
        return known.in_force(self._clock())

    def kept(self, domain: str) -> tuple[StsPolicy | None] | None:
        """Give the policy of a domain, or that it has none, if that is known: nobody waits, and no task is needed."""
        now_s = self._clock()
        known = self._known.get(domain.lower().rstrip("."))
        return None if known is None or known.look_again_s <= now_s else (known.in_force(now_s),)

    async def close(self) -> None:
        """Stop what is under way."""
        await self._under_way.close()

    async def _look(self, name: str) -> _Known:
        async with self._places:
            stored = await self._kept(name)
            announced, wait_s = await self._announced(name)
            if announced and not self._fresh(stored, announced):
                fetched = await self._fetched(name, announced)
                if fetched is None:
                    wait_s = self._parameters.failure_ttl_s
                else:
                    stored = fetched
        now_s = self._clock()
        if stored is not None and stored.expires_at_s > now_s:
            until_end_s = max(stored.expires_at_s - now_s, self._parameters.record_floor_s)
            wait_s = min(wait_s, until_end_s)
        known = _Known(stored, now_s + wait_s)
        self._known[name] = known
        self._known.move_to_end(name)
        while len(self._known) > self._parameters.cache_domains:
            self._known.popitem(last=False)
        return known

    async def _kept(self, name: str) -> StoredPolicy | None:
        """Give the policy that was fetched before, by this process or another one."""
        known = self._known.get(name)
        if known is not None or self._store is None:
            return None if known is None else known.stored
        return await self._store.load(name)

    def _fresh(self, stored: StoredPolicy | None, announced: str) -> bool:
        if stored is None or stored.policy.id != announced:
            return False
        now_s = self._clock()
        return now_s < stored.expires_at_s and now_s - stored.fetched_at_s < self._parameters.refresh_s

    async def _announced(self, name: str) -> tuple[str, float]:
        """Give the id of the domain's TXT record, empty if there is none that counts, and when to ask again."""
        parameters = self._parameters
        found, ttl_s = "", parameters.failure_ttl_s
        try:
            answer = await self._lookup.ask(f"_mta-sts.{name}", "TXT")
            ttl_s = answer.ttl_s
            found = announced_id(_text(record) for record in answer.records)
        except NoSuchName as nothing:
            ttl_s = nothing.ttl_s
        except (DnsUnavailable, StsInvalid):
            pass  # no record that counts: what was fetched before stays in force
        return found, min(max(ttl_s, parameters.record_floor_s), parameters.record_ceiling_s)

    async def _fetched(self, name: str, announced: str) -> StoredPolicy | None:
        try:
            policy, age_s = await self._fetcher.fetch(name, announced)
        except StsUnavailable as error:
            get_logger().info("sts_fetch_failed", domain=name, detail=str(error))
            return None
        now_s = self._clock()
        stored = StoredPolicy(policy, now_s, now_s + age_s)
        get_logger().info("sts_policy_fetched", domain=name, mode=policy.mode, id=policy.id, max_age_s=age_s)
        if self._store is not None:
            await self._store.save(name, stored)
        return stored


def _text(record: Any) -> str:
    """Join the strings of a TXT record (RFC 8461 §3.1); bytes that are not ASCII match nothing."""
    return b"".join(record.strings).decode("ascii", "replace")
