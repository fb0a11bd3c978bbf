"""From a recipient's domain to the hosts that take its mail.

Promises: hosts come in order of preference, equals in random order; a domain is called undeliverable only if the DNS
says so (null MX, no such name, no address); a failing DNS is always temporary and never read as "no MX". Addresses that
are not of the public Internet are refused unless the settings allow them. Nothing is remembered beyond its TTL (but for
a few seconds), memory is bounded, and one domain is asked for once at a time, however many mails wait for it.
Fails with ``RoutingFailure``, which carries the verdict and the reply to show.
"""

import asyncio
import ipaddress
import random
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from hayabin.domain.bounce_kinds import HARD_REASONS
from hayabin.domain.bounce_reason import BounceReason, Verdict
from hayabin.domain.lane import provider_of_domain, provider_of_mx
from hayabin.domain.smtp_reply import Reply
from services.dispatcher.dns_lookup import DnsLookup, DnsUnavailable, NoSuchName, Records

_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_ROOT: Final = (0, ".")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class ResolverParameters:
    """How to ask, what to accept, how long to remember.

    Units: seconds.
    """

    servers: tuple[str, ...] = ()
    allow_private: bool = False
    ipv6: bool = False  # only of use with IPv6 source addresses
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
class MxHost:
    """A host that takes the domain's mail, with its addresses in the order of the DNS."""

    name: str
    preference: int
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """Where mail for a domain goes; at least one host, each with at least one address."""

    domain: str
    provider: str | None
    hosts: tuple[MxHost, ...]


@dataclass(frozen=True, slots=True)
class _Problem:
    permanent: bool
    reason: BounceReason
    reply: Reply


class RoutingFailure(Exception):
    """There is no way to the domain, for now or for good."""

    def __init__(self, domain: str, problem: _Problem) -> None:
        """Keep the domain and what is wrong with it."""
        super().__init__(f"{domain}: {problem.reply}")
        self.domain = domain
        self.permanent = problem.permanent
        self.reason = problem.reason
        self.reply = problem.reply  # as a server would say it: code, enhanced status, text

    @property
    def verdict(self) -> Verdict:
        """Give what it means for mails to the domain."""
        hard = self.permanent and self.reason in HARD_REASONS
        return Verdict(permanent=self.permanent, hard=hard, reason=self.reason, suppress=hard)


_NULL_MX = _Problem(True, BounceReason.NULL_MX, Reply(556, "5.1.10", "the domain takes no mail (null MX)"))
_NO_DOMAIN = _Problem(True, BounceReason.DOMAIN_NOT_FOUND, Reply(550, "5.1.2", "the domain does not exist"))
_BAD_DOMAIN = _Problem(True, BounceReason.ADDRESS_SYNTAX, Reply(553, "5.1.3", "the domain is no name of the DNS"))
_NO_ADDRESS = _Problem(True, BounceReason.NETWORK, Reply(550, "5.4.4", "no host of the domain has an address"))
_PRIVATE = _Problem(True, BounceReason.NETWORK, Reply(550, "5.4.4", "the hosts of the domain are not on the Internet"))
_DNS_FAILS = _Problem(False, BounceReason.NETWORK, Reply(451, "4.4.3", "the DNS gives no answer for the domain"))


@dataclass(frozen=True, slots=True)
class _Known:
    what: Route | _Problem
    until: float


class Resolver:
    """Routes with a cache; one for each process."""

    def __init__(
        self,
        parameters: ResolverParameters,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        """Prepare; ``clock`` counts seconds, ``rng`` orders hosts of equal preference."""
        self._parameters = parameters
        self._lookup = DnsLookup(parameters.servers, timeout_s=parameters.question_timeout_s)
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 — load balancing, no secret
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._under_way: dict[str, asyncio.Task[Route | _Problem]] = {}
        self._places = asyncio.Semaphore(parameters.at_once)
        self._hosts: OrderedDict[str, tuple[_Addresses, float]] = OrderedDict()
        self._hosts_under_way: dict[str, asyncio.Task[_Addresses]] = {}

    async def route(self, domain: str) -> Route:
        """Give the route to a domain (A-labels).

        Raises: RoutingFailure
        """
        name = domain.lower().rstrip(".")
        known = self._known.get(name)
        if known is not None and known.until > self._clock():
            self._known.move_to_end(name)
            found = known.what
        else:
            found = await self._find_once(name)
        if isinstance(found, _Problem):
            raise RoutingFailure(name, found)
        return self._balanced(found)

    async def close(self) -> None:
        """Stop what is under way; whoever waits for it is cancelled."""
        tasks = [*self._under_way.values(), *self._hosts_under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _find_once(self, name: str) -> Route | _Problem:
        """Ask, or wait with those who asked before; a waiter that is cancelled does not disturb the others."""
        task = self._under_way.get(name)
        if task is None:
            task = asyncio.create_task(self._find(name))
            self._under_way[name] = task
            task.add_done_callback(lambda _: self._under_way.pop(name, None))
        return await asyncio.shield(task)

    async def _find(self, name: str) -> Route | _Problem:
        parameters = self._parameters
        found: Route | _Problem
        async with self._places:
            try:
                async with asyncio.timeout(parameters.route_timeout_s):
                    found, ttl_s = await self._look_up(name)
            except (DnsUnavailable, TimeoutError):
                found, ttl_s = _DNS_FAILS, parameters.failure_ttl_s
        ceiling_s = parameters.ttl_ceiling_s if isinstance(found, Route) else parameters.negative_ceiling_s
        until = self._clock() + min(max(ttl_s, parameters.ttl_floor_s), ceiling_s)
        self._known[name] = _Known(found, until)
        self._known.move_to_end(name)
        while len(self._known) > parameters.cache_domains:
            self._known.popitem(last=False)
        return found

    async def _look_up(self, name: str) -> tuple[Route | _Problem, float]:
        """Give the route or what is wrong, and how long that holds.

        Raises: DnsUnavailable
        Source: RFC 5321 §5.1, RFC 7505 §3.
        """
        if not _NAME.fullmatch(name):
            return _BAD_DOMAIN, self._parameters.ttl_ceiling_s
        try:
            answer = await self._lookup.ask(name, "MX")
        except NoSuchName as nothing:
            return _NO_DOMAIN, nothing.ttl_s
        if not answer.records:
            targets = [(0, name)]  # the implicit MX
        else:
            targets = _targets(answer)
            if targets == [_ROOT]:
                return _NULL_MX, answer.ttl_s
        found = await asyncio.gather(
            *(self._addresses(target) for _, target in targets[: self._parameters.max_hosts]),
            return_exceptions=True,
        )
        return self._assembled(name, answer.ttl_s, list(zip(targets, found, strict=False)))

    def _assembled(
        self,
        name: str,
        ttl_s: float,
        found: list[tuple[tuple[int, str], "_Addresses | BaseException"]],
    ) -> tuple[Route | _Problem, float]:
        hosts: list[MxHost] = []
        failed = refused = False
        for (preference, target), addresses in found:
            if isinstance(addresses, DnsUnavailable):
                failed = True
            elif isinstance(addresses, BaseException):
                raise addresses
            else:
                ttl_s = min(ttl_s, addresses.ttl_s)
                refused = refused or addresses.refused
                if addresses.usable:
                    hosts.append(MxHost(target, preference, addresses.usable))
        if hosts:
            provider = provider_of_domain(name) or provider_of_mx(hosts[0].name)
            return Route(name, provider, tuple(hosts)), ttl_s
        if failed:
            raise DnsUnavailable("no host's address is known")
        return (_PRIVATE if refused else _NO_ADDRESS), ttl_s

    async def _addresses(self, host: str) -> "_Addresses":
        """Give the usable addresses of a host; none if it has none.

        Thousands of domains share the hosts of one provider: a host is asked for once, and remembered for its TTL.

        Raises: DnsUnavailable if nothing usable is known and a question went unanswered.
        """
        kept = self._hosts.get(host)
        if kept is not None and kept[1] > self._clock():
            left_s = kept[1] - self._clock()
            return _Addresses(kept[0].usable, kept[0].refused, min(kept[0].ttl_s, left_s))
        task = self._hosts_under_way.get(host)
        if task is None:
            task = asyncio.create_task(self._ask_addresses(host))
            self._hosts_under_way[host] = task
            task.add_done_callback(lambda _: self._hosts_under_way.pop(host, None))
        found = await asyncio.shield(task)
        self._hosts[host] = (found, self._clock() + min(found.ttl_s, self._parameters.ttl_ceiling_s))
        while len(self._hosts) > self._parameters.cache_domains:
            self._hosts.popitem(last=False)
        return found

    async def _ask_addresses(self, host: str) -> "_Addresses":
        usable: list[str] = []
        failure: DnsUnavailable | None = None
        refused, ttl_s = False, self._parameters.ttl_ceiling_s
        for kind in ("A", "AAAA") if self._parameters.ipv6 else ("A",):
            try:
                answer = await self._lookup.ask(host, kind)
            except NoSuchName as nothing:
                ttl_s = min(ttl_s, nothing.ttl_s)
                continue
            except DnsUnavailable as unanswered:
                failure = unanswered
                continue
            ttl_s = min(ttl_s, answer.ttl_s)
            for record in answer.records:
                address = _attribute(record, "address")
                if self._parameters.allow_private or is_public(address):
                    usable.append(address)
                else:
                    refused = True
        if failure is not None and not usable:
            raise failure
        return _Addresses(tuple(usable[: self._parameters.max_addresses]), refused, ttl_s)

    def _balanced(self, route: Route) -> Route:
        """Give the route with hosts of equal preference in a new random order."""
        hosts = route.hosts
        if len(hosts) < 2:
            return route
        ordered = sorted(hosts, key=lambda host: (host.preference, self._rng.random()))
        return Route(route.domain, route.provider, tuple(ordered))


@dataclass(frozen=True, slots=True)
class _Addresses:
    usable: tuple[str, ...]
    refused: bool
    ttl_s: float


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


def is_public(address: str) -> bool:
    """Tell whether an address is of the public Internet, also where an IPv6 address wraps an IPv4 one."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            ip = inner
    return ip.is_global and not ip.is_multicast and not ip.is_unspecified
