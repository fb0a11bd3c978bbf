"""From a recipient's domain to the hosts that take its mail.

Promises: hosts come in order of preference, equals in random order; a domain is called undeliverable only if the DNS
says so (null MX, no such name, no address); a failing DNS is always temporary and never read as "no MX". Addresses that
are not of the public Internet are refused unless the settings allow them. Nothing is remembered beyond its TTL (but for
a few seconds), memory is bounded, and one domain is asked for once at a time, however many mails wait for it.
Fails with ``RoutingFailure``, which carries the verdict and the reply to show.
"""

import asyncio
import random
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from hayabin.domain.lane import provider_of_domain, provider_of_mx
from services.dispatcher import route
from services.dispatcher.dns_lookup import DnsLookup, DnsUnavailable, NoSuchName, Records
from services.dispatcher.internet_address import is_public
from services.dispatcher.route import MxHost, Problem, Route, RoutingFailure
from services.dispatcher.single_flight import SingleFlight

__all__ = ["MxHost", "Resolver", "ResolverParameters", "Route", "RoutingFailure", "is_public"]

_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_ROOT: Final = (0, ".")


@dataclass(frozen=True, slots=True)
class ResolverParameters:
    """How to ask, what to accept, how long to remember.

    Units: seconds.
    """

    servers: tuple[str, ...] = ()
    allow_private: bool = False
    ipv6: bool = False  # only of use with IPv6 source addresses
    trust_ad: bool = False  # the servers validate DNSSEC, and the way to them is safe
    question_timeout_s: float = 6.0
    route_timeout_s: float = 20.0
    ttl_floor_s: float = 5.0
    ttl_ceiling_s: float = 3600.0
    negative_ceiling_s: float = 900.0
    failure_ttl_s: float = 20.0
    cache_domains: int = 50_000
    max_hosts: int = 16  # danger: a zone of thousands of MX records would cost as many questions
    max_addresses: int = 8
    at_once: int = 64


@dataclass(frozen=True, slots=True)
class _Known:
    what: Route | Problem
    until: float


class Resolver:
    """Routes with a cache; one for each process."""

    def __init__(
        self,
        parameters: ResolverParameters,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        lookup: DnsLookup | None = None,
    ) -> None:
        """Prepare; ``clock`` counts seconds, ``rng`` orders equal hosts, ``lookup`` asks instead of one made here."""
        self._parameters = parameters
        self.lookup = lookup or DnsLookup(
            parameters.servers, timeout_s=parameters.question_timeout_s, trust_ad=parameters.trust_ad
        )
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 — load balancing, no secret
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._under_way: SingleFlight[Route | Problem] = SingleFlight()
        self._places = asyncio.Semaphore(parameters.at_once)
        self._hosts: OrderedDict[str, tuple[_Addresses, float]] = OrderedDict()
        self._hosts_under_way: SingleFlight[_Addresses] = SingleFlight()

    async def route(self, domain: str) -> Route:
        """Give the route to a domain (A-labels).

        Raises: RoutingFailure
        """
        name = domain.lower().rstrip(".")
        found = self._remembered(name) or await self._under_way.run(name, lambda: self._find(name))
        if isinstance(found, Problem):
            raise RoutingFailure(name, found)
        return self._balanced(found)

    def kept(self, domain: str) -> Route | None:
        """Give the route to a domain if it is known: nobody waits, and no task is needed for it."""
        found = self._remembered(domain.lower().rstrip("."))
        return self._balanced(found) if isinstance(found, Route) else None

    def _remembered(self, name: str) -> Route | Problem | None:
        known = self._known.get(name)
        if known is None or known.until <= self._clock():
            return None
        self._known.move_to_end(name)
        return known.what

    async def close(self) -> None:
        """Stop what is under way; whoever waits for it is cancelled."""
        await self._under_way.close()
        await self._hosts_under_way.close()

    async def _find(self, name: str) -> Route | Problem:
        parameters = self._parameters
        found: Route | Problem
        async with self._places:
            try:
                async with asyncio.timeout(parameters.route_timeout_s):
                    found, ttl_s = await self._look_up(name)
            except (DnsUnavailable, TimeoutError):
                found, ttl_s = route.DNS_FAILS, parameters.failure_ttl_s
        ceiling_s = parameters.ttl_ceiling_s if isinstance(found, Route) else parameters.negative_ceiling_s
        until = self._clock() + min(max(ttl_s, parameters.ttl_floor_s), ceiling_s)
        self._known[name] = _Known(found, until)
        self._known.move_to_end(name)
        while len(self._known) > parameters.cache_domains:
            self._known.popitem(last=False)
        return found

    async def _look_up(self, name: str) -> tuple[Route | Problem, float]:
        """Give the route or what is wrong, and how long that holds.

        Raises: DnsUnavailable
        Source: RFC 5321 §5.1, RFC 7505 §3.
        """
        if not _NAME.fullmatch(name):
            return route.BAD_DOMAIN, self._parameters.ttl_ceiling_s
        try:
            answer = await self.lookup.ask(name, "MX")
        except NoSuchName as nothing:
            return route.NO_DOMAIN, nothing.ttl_s
        if not answer.records:
            targets = [(0, name)]  # the implicit MX
        else:
            targets = _targets(answer)
            if targets == [_ROOT]:
                return route.NULL_MX, answer.ttl_s
        found = await asyncio.gather(
            *(self._addresses(target) for _, target in targets[: self._parameters.max_hosts]),
            return_exceptions=True,
        )
        return _assembled(name, answer, list(zip(targets, found, strict=False)))

    async def _addresses(self, host: str) -> "_Addresses":
        """Give the usable addresses of a host; none if it has none.

        Thousands of domains share the hosts of one provider: a host is asked for once, and remembered for its TTL.

        Raises: DnsUnavailable if nothing usable is known and a question went unanswered.
        """
        kept = self._hosts.get(host)
        if kept is not None and kept[1] > self._clock():
            left_s = kept[1] - self._clock()
            return replace(kept[0], ttl_s=min(kept[0].ttl_s, left_s))
        found = await self._hosts_under_way.run(host, lambda: self._ask_addresses(host))
        self._hosts[host] = (found, self._clock() + min(found.ttl_s, self._parameters.ttl_ceiling_s))
        while len(self._hosts) > self._parameters.cache_domains:
            self._hosts.popitem(last=False)
        return found

    async def _ask_addresses(self, host: str) -> "_Addresses":
        found = _Addresses((), self._parameters.ttl_ceiling_s)
        failure: DnsUnavailable | None = None
        for kind in ("A", "AAAA") if self._parameters.ipv6 else ("A",):
            try:
                found = self._with_addresses(found, await self.lookup.ask(host, kind))
            except NoSuchName as nothing:
                found = replace(found, ttl_s=min(found.ttl_s, nothing.ttl_s))
            except DnsUnavailable as unanswered:
                failure = unanswered
        if failure is not None and not found.usable:
            raise failure
        if not (found.usable or found.refused or self._parameters.ipv6):
            found = replace(found, ipv6_only=await self._has_ipv6(host))
        return found

    def _with_addresses(self, found: "_Addresses", answer: Records) -> "_Addresses":
        every = [str(_attribute(record, "address")) for record in answer.records]
        usable = [address for address in every if self._parameters.allow_private or is_public(address)]
        return _Addresses(
            usable=(*found.usable, *usable[: self._parameters.max_addresses]),
            ttl_s=min(found.ttl_s, answer.ttl_s),
            refused=found.refused or len(usable) < len(every),
            secure=found.secure and answer.secure,
        )

    async def _has_ipv6(self, host: str) -> bool:
        """Tell whether a host that we cannot reach over IPv4 could be reached over IPv6.

        Raises: DnsUnavailable, as then nobody knows what the host has.
        """
        try:
            return bool((await self.lookup.ask(host, "AAAA")).records)
        except NoSuchName:
            return False

    def _balanced(self, way: Route) -> Route:
        """Give the route with hosts of equal preference in a new random order."""
        hosts = way.hosts
        if len(hosts) < 2:
            return way
        ordered = sorted(hosts, key=lambda host: (host.preference, self._rng.random()))
        return Route(way.domain, way.provider, tuple(ordered))


@dataclass(frozen=True, slots=True)
class _Addresses:
    usable: tuple[str, ...]
    ttl_s: float
    refused: bool = False  # there are others, which are not of the public Internet
    ipv6_only: bool = False
    secure: bool = True


def _assembled(
    name: str, mx: Records, found: list[tuple[tuple[int, str], _Addresses | BaseException]]
) -> tuple[Route | Problem, float]:
    """Give the route over the hosts that have addresses, or what is wrong if none has, and how long that holds.

    Raises: DnsUnavailable if no host has, and of one it is not known.
    """
    hosts: list[MxHost] = []
    failed = False
    known: list[_Addresses] = []
    for (preference, target), addresses in found:
        if isinstance(addresses, DnsUnavailable):
            failed = True
        elif isinstance(addresses, BaseException):
            raise addresses
        else:
            known.append(addresses)
            if addresses.usable:
                hosts.append(MxHost(target, preference, addresses.usable, mx.secure and addresses.secure))
    ttl_s = min([mx.ttl_s, *(addresses.ttl_s for addresses in known)])
    if hosts:
        provider = provider_of_domain(name) or provider_of_mx(hosts[0].name)
        return Route(name, provider, tuple(hosts)), ttl_s
    if failed:
        raise DnsUnavailable("no host's address is known")
    if any(addresses.refused for addresses in known):
        return route.PRIVATE, ttl_s
    return (route.IPV6_ONLY if any(addresses.ipv6_only for addresses in known) else route.NO_ADDRESS), ttl_s


def _targets(answer: Records) -> list[tuple[int, str]]:
    """Give (preference, host) in order, ``_ROOT`` alone for a null MX; a root target beside others is left out.

    Source: RFC 7505 §3.
    """
    targets = [
        (int(_attribute(record, "preference")), _attribute(record, "exchange").to_text(omit_final_dot=True).lower())
        for record in answer.records
    ]
    if all(host == "." for _, host in targets):
        return [_ROOT]
    return sorted({(preference, host) for preference, host in targets if _NAME.fullmatch(host)})


def _attribute(record: object, name: str) -> Any:
    """Read a field of a record; dnspython declares the fields on classes that it picks at run time."""
    return getattr(record, name)
