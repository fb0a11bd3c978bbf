"""What Hayabin would do with a mail to one address, found step by step: address, way, provider, policy, TLS, lanes.

Promises: the parts that decide are the dispatcher's own; nothing is written anywhere. The answer is a dict of plain
values, the same for people and for programs.
Fails: database errors come out; all else that can be wrong is in the answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hayabin.broker.topology import dispatch_queue
from hayabin.database.engine import Pool
from hayabin.domain.address import Address, AddressInvalid, bare_form, parse_address
from hayabin.domain.lane import PROVIDERS, MessageClass, lane_of, provider_of_domain
from hayabin.domain.policy import DottedForm, Policy, as_json
from hayabin.domain.retry import RetrySchedule
from services.dispatcher import trace_words
from services.dispatcher.control import Control
from services.dispatcher.daily import DailyCaps
from services.dispatcher.kept_knowledge import Kept, KnownSource
from services.dispatcher.lane import Rules
from services.dispatcher.policy import Policies
from services.dispatcher.prospects import Destination, Outlook, When, outlook, prospects
from services.dispatcher.route import Route, RoutingFailure
from services.dispatcher.sts_policy import StsPolicy
from services.dispatcher.suspensions import Suspensions
from services.dispatcher.tls_plan import HostRefused
from services.dispatcher.way_finding import WayFinder

MOST_RETRIES: Final = 30
UNKNOWN: Final = (
    "suspensions",
    "warm-ups and what is used of them",
    "the API's settings of policies",
    "what dispatchers report of the lanes",
    "suppressions",
)
"""What nobody can say without the database."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked; ``delays_s`` replaces the policies' pauses if it is not empty."""

    address: str
    message_class: MessageClass
    pool: str
    sources: tuple[KnownSource, ...]
    delays_s: tuple[int, ...]
    max_age_s: int


def parsed(text: str) -> Address | dict[str, Any]:
    """Give the address, or the answer that says why it is refused."""
    try:
        return parse_address(text)
    except AddressInvalid as error:
        why = f"{error.reason.value}: {error.detail}"
        return {
            "address": {"given": text[:1000], "refused": error.reason.value, "detail": error.detail},
            "when": _when(Outlook(When.NEVER, because=f"the address is refused: {why}")),
        }


@dataclass(frozen=True, slots=True)
class Resolution:
    """See the module; ``kept`` None: there is no database."""

    asked: Asked
    address: Address
    finder: WayFinder
    kept: Kept | None
    database: Pool | None

    async def answer(self) -> dict[str, Any]:
        """Find it all."""
        kept, domain = self.kept, self.address.domain
        policies = self.finder.policies if kept is None else self.finder.policies.with_overrides(kept.overrides)
        shown: dict[str, Any] = {"address": self._forms(None), "class": self.asked.message_class}
        try:
            way = await self.finder.resolver.route(domain)
        except RoutingFailure as failure:
            shown["route"] = {"problem": str(failure.reply), "permanent": failure.permanent, "hosts": []}
            known = provider_of_domain(domain)
            shown |= self._lane(known, known or "") | self._kept()
            shown["when"] = _when(self._without_way(failure, policies.get(None)))
            return shown
        policy = policies.get(way.provider)
        sts = await self.finder.sts(domain)
        hosts = [await self._host(way, number, policy, sts) for number in range(len(way.hosts))]
        shown["address"] = self._forms(policy)
        shown["route"] = {"problem": None, "permanent": False, "hosts": hosts}
        shown["mta_sts"] = None if sts is None else {"mode": sts.mode.value, "id": sts.id, "mx": list(sts.mx)}
        key = self._key(way)
        shown |= self._lane(way.provider, key) | self._policy(policy, policies) | self._kept()
        return shown | self._when(way, key, policy, policies, hosts)

    def _forms(self, policy: Policy | None) -> dict[str, Any]:
        address = self.address
        bare = policy is not None and policy.dotted_local_part is DottedForm.BARE
        return {
            "given": address.given,
            "wire": bare_form(address.wire) if bare else address.wire,
            "key": address.key,
            "domain": address.domain,
            "japanese_mobile": address.is_japanese_mobile,
            "needs_smtputf8": address.needs_smtputf8,
        }

    async def _host(self, way: Route, number: int, policy: Policy, sts: StsPolicy | None) -> dict[str, Any]:
        host = way.hosts[number]
        try:
            plan = await self.finder.planner.plan(host, policy.tls, sts, domain=way.domain)
            tls, refused = trace_words.words_of_plan(plan), False
        except HostRefused as refusal:
            tls, refused = f"not used: {refusal.detail}", True
        return {
            "name": host.name,
            "preference": host.preference,
            "addresses": list(host.addresses),
            "dnssec": host.secure,
            "tls": tls,
            "refused": refused,
        }

    def _key(self, way: Route) -> str:
        """Give the lane's key; of equal hosts the one that dispatchers have, else the first by name."""
        if way.provider is not None:
            return way.provider
        best = min(host.preference for host in way.hosts)
        names = sorted(f"mx:{host.name}" for host in way.hosts if host.preference == best)
        in_use = {lane for _, lane in self.kept.reports} if self.kept else set()
        return next((name for name in names if name in in_use), names[0])

    def _lane(self, provider: str | None, key: str) -> dict[str, Any]:
        """Say the lane and the queue; the renderers choose the queue by what they know."""
        domain = self.address.domain
        learnt = self.kept.learnt_provider if self.kept else None
        lane = lane_of(domain, self.asked.message_class, learnt if learnt in PROVIDERS else None)
        return {
            "provider": {
                "name": provider,
                "by": None if provider is None else "domain" if provider_of_domain(domain) else "mx",
                "known_to_renderers": None if self.kept is None else learnt,
            },
            "lane": key or None,
            "queue": dispatch_queue(self.asked.pool or "<pool>", lane),
        }

    def _policy(self, policy: Policy, policies: Policies) -> dict[str, Any]:
        kept = self.kept
        overrides = (
            {name: sorted(kept.overrides[name]) for name in ("default", policy.provider) if name in kept.overrides}
            if kept
            else {}
        )
        reported = kept.effective.get(policy.provider) if kept else None
        mine = as_json(policy)
        other = sorted(name for name in mine if reported is not None and _plain(mine[name]) != reported.get(name))
        return {
            "policy": {
                "name": policy.provider,
                **{name: value for name, value in mine.items() if name != "rules"},
                "rules": len(policy.rules),
                "by_api": overrides,
                "problems": list(policies.problems),
                "dispatchers_differ_in": other,
            },
            "retries": [moment.isoformat() for moment in self._retries(policy)],
        }

    def _retries(self, policy: Policy) -> list[datetime]:
        """Give when it would be tried again if every attempt from now on were deferred, at the earliest."""
        schedule = RetrySchedule(self.asked.delays_s or policy.retry_delays_s, self.asked.max_age_s)
        now = datetime.now(UTC)
        times: list[datetime] = []
        due: datetime | None = now
        while len(times) < MOST_RETRIES and due is not None:
            due = schedule.next_attempt(len(times) + 1, now, due, 0.0)
            times += [] if due is None else [due]
        return times

    def _kept(self) -> dict[str, Any]:
        if self.kept is None:
            return {"pool": {"name": self.asked.pool or None, "state": None}, "suppressed": None, "unknown": [*UNKNOWN]}
        return {
            "pool": {"name": self.asked.pool, "state": self.kept.pool_state or "missing"},
            "suppressed": dict(self.kept.suppressed),
            "unknown": [],
        }

    def _without_way(self, failure: RoutingFailure, policy: Policy) -> Outlook:
        if failure.permanent:
            return Outlook(When.NEVER, because=f"it bounces: {failure.reply}")
        delay_s = (self.asked.delays_s or policy.retry_delays_s)[0]
        return Outlook(
            When.AT, datetime.now(UTC) + timedelta(seconds=delay_s), f"{failure.reply}; then it is tried again"
        )

    def _when(
        self, way: Route, key: str, policy: Policy, policies: Policies, hosts: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        kept, asked = self.kept, self.asked
        sources = kept.sources if kept else asked.sources or (KnownSource("", ""),)
        urgent = asked.message_class == "transactional"
        addresses = [address for host in way.hosts for address in host.addresses]
        found = list(prospects(Destination(key, policy, addresses, urgent), sources, self._rules(policies), kept))
        view = outlook(found, asked.pool or "(none named)")
        if kept is not None and kept.pool_state != "active":
            word = "was removed" if kept.pool_state else "does not exist"
            view = Outlook(When.HELD, because=f"the pool {asked.pool} {word}")
        elif all(host["refused"] for host in hosts):
            at = datetime.now(UTC) + timedelta(seconds=(asked.delays_s or policy.retry_delays_s)[0])
            view = Outlook(When.AT, at, f"TLS: {hosts[0]['name']} is {hosts[0]['tls']}; then it is tried again")
        if kept is not None and 0 < kept.suppressed["tenants"] == kept.suppressed["wholly"]:
            view = Outlook(When.NEVER, because="every tenant has suppressed the address")
        return {
            "sources": [prospect.as_json for prospect in found if prospect.source.ip],
            "when": _when(view),
        }

    def _rules(self, policies: Policies) -> Rules:
        """Give what lanes go by, filled from what was read."""
        suspensions = Suspensions(self.asked.pool)
        if self.kept is None or self.database is None:
            return Rules(suspensions, lambda *_: ())
        suspensions.read(self.kept.suspensions)
        control = Control(
            database=self.database,
            pool=self.asked.pool,
            instance="",
            shipped=policies,
            suspensions=suspensions,
            caps=DailyCaps(self.database),
            _warmups=dict(self.kept.warmups),
        )
        return Rules(suspensions, control.daily_caps)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _when(view: Outlook) -> dict[str, Any]:
    at = None if view.at is None else view.at.isoformat(timespec="seconds")
    return {"state": view.when.value, "at": at, "because": view.because}
