"""From a domain's name to a spoken session, host by host, as a connection of the dispatcher goes.

Promises: hosts and addresses are tried in the dispatcher's order until one is ready; with ``all_hosts`` each is tried.
What is found on the way is told as it is found. No mail is sent.
Fails with ``NotReady``, which says what went wrong and what to do.
"""

import ipaddress
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from hayabin.domain.address import bare_form
from hayabin.domain.lane import provider_of_mx
from hayabin.domain.policy import DottedForm, Policy, TlsMode
from services.dispatcher import trace_words
from services.dispatcher.aloud import AloudLookup, Tell
from services.dispatcher.connect import Target
from services.dispatcher.dns_lookup import DnsUnavailable, NoSuchName
from services.dispatcher.internet_address import is_public
from services.dispatcher.route import MxHost, Route, RoutingFailure
from services.dispatcher.settings import Source
from services.dispatcher.smtp_parameters import SmtpTimeouts
from services.dispatcher.sts_policy import StsPolicy
from services.dispatcher.tls_plan import HostRefused, TlsPlan
from services.dispatcher.trace_session import Ending, Recipient, speak
from services.dispatcher.way_finding import WayFinder


class NotReady(Exception):
    """No session came about that would have taken a mail."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be traced; ``host``: this one instead of the MX hosts; ``tls``: instead of the provider's policy."""

    domain: str
    source: Source
    any_source: bool
    recipient: Recipient | None
    port: int
    host: str | None
    tls: TlsMode | None
    timeout_s: float | None
    all_hosts: bool
    allow_private: bool


@dataclass(frozen=True, slots=True)
class Trace:
    """See the module."""

    question: Question
    finder: WayFinder
    lookup: AloudLookup
    tell: Tell

    async def run(self) -> None:
        """Find the way, and speak.

        Raises: NotReady
        """
        way = await self._route()
        sts = await self._sts()
        policy = self._policy(way.provider)
        endings: list[Ending] = []
        async for ending in self._sessions(way, sts, policy):
            endings = [*endings, ending] if self.question.all_hosts or not ending.answered else [ending]
            if ending.answered and not self.question.all_hosts:
                break
        problems = [ending.problem for ending in endings if ending.problem]
        if problems:
            raise NotReady(problems[0] if len(problems) == 1 else "\n".join(["", *(f"- {one}" for one in problems)]))
        if not endings:
            family = "IPv6" if ":" in self.question.source.ip else "IPv4"
            raise NotReady(f"no host of {way.domain} has an {family} address: give --from-ip one of the other family.")

    async def _route(self) -> Route:
        question = self.question
        if question.host is not None:
            return await self._named(question.host)
        try:
            way = await self.finder.resolver.route(question.domain)
        except RoutingFailure as failure:
            raise NotReady(trace_words.of_route(failure)) from failure
        asked = self.lookup.found.get((question.domain, "MX"))
        if asked is not None and not asked.records:
            self.tell("-- no MX: the domain itself is the host (implicit MX)")
        for host in way.hosts:
            self.tell(f"-- MX {host.preference} {host.name}: {', '.join(host.addresses)}")
        return way

    async def _named(self, host: str) -> Route:
        """Give a route over one host that was named, or one address."""
        question = self.question
        if _is_address(host):
            found, secure = [host], False
        else:
            try:
                answer = await self.finder.lookup.ask(host, "AAAA" if ":" in question.source.ip else "A")
            except NoSuchName as error:
                raise NotReady(f"{host}: no such name. Look for a typing error in --mx.") from error
            except DnsUnavailable as error:
                raise NotReady(f"{host}: the DNS gives no answer. Ask another resolver with --dns.") from error
            found, secure = [str(getattr(record, "address", "")) for record in answer.records], answer.secure
        usable = tuple(address for address in found if question.allow_private or is_public(address))
        if not usable:
            what = "its addresses are not on the Internet: give --allow-private" if found else "it has no address"
            raise NotReady(f"{host}: {what}.")
        self.tell(f"-- host {host}, as --mx says: {', '.join(usable)}")
        return Route(question.domain, provider_of_mx(host), (MxHost(host, 0, usable, secure),))

    async def _sts(self) -> StsPolicy | None:
        if self.finder.mta_sts is None:
            self.tell("-- MTA-STS: not looked at")
            return None
        sts = await self.finder.sts(self.question.domain)
        if sts is None:
            self.tell("-- MTA-STS: no policy")
        return sts

    def _policy(self, provider: str | None) -> Policy:
        policy = self.finder.policies.get(provider)
        of_source = policy.of_source(self.question.source.ip)
        instead = f", but --tls says {self.question.tls}" if self.question.tls else ""
        self.tell(f"-- provider: {provider or 'none of the known'}; TLS by its policy: {policy.tls}{instead}")
        if of_source is None:
            raise NotReady(f"the policy of {policy.provider} allows no IPv6 source: give --from-ip an IPv4 address.")
        return of_source

    async def _sessions(self, way: Route, sts: StsPolicy | None, policy: Policy) -> AsyncIterator[Ending]:
        """Try one address after the other."""
        mode = self.question.tls or policy.tls
        for host in way.hosts:
            try:
                plan = await self.finder.planner.plan(host, mode, sts, domain=way.domain)
            except HostRefused as refusal:
                self.tell(f"-- {refusal.host}: {refusal.result}: {refusal.detail}")
                problem = (
                    f"{refusal.host}: {refusal.detail}. Mail waits for another host, or until the domain mends it."
                )
                yield Ending(problem, answered=False)
                continue
            if not host.secure:
                self.tell(f"-- {host.name}: DANE: no, as DNSSEC does not vouch for the way to it")
            elif not plan.tlsa:
                self.tell(f"-- {host.name}: DANE: no TLSA record that can be used")
            self.tell(f"-- {host.name}: TLS plan {trace_words.words_of_plan(plan)}")
            for address in host.addresses:
                if (":" in address) is (":" in self.question.source.ip):
                    target = self._target(host, address, policy, plan)
                    yield await speak(target, _in_form(self.question.recipient, policy), self.tell)

    def _target(self, host: MxHost, address: str, policy: Policy, plan: TlsPlan) -> Target:
        question = self.question
        longest_s = question.timeout_s or float("inf")
        command_s = min(policy.command_timeout_s, longest_s)
        return Target(
            host=host.name,
            address=address,
            port=question.port,
            ehlo_name=question.source.ehlo_name,
            source_ip=None if question.any_source else question.source.ip,
            proxy=question.source.proxy,
            plan=plan,
            connect_timeout_s=min(policy.connect_timeout_s, longest_s),
            timeouts=SmtpTimeouts(
                greeting_s=min(policy.greeting_timeout_s, longest_s), mail_s=command_s, rcpt_s=command_s
            ),
        )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _in_form(recipient: Recipient | None, policy: Policy) -> Recipient | None:
    """Give the recipient in the form that the provider takes."""
    if recipient is None or policy.dotted_local_part is not DottedForm.BARE:
        return recipient
    return replace(recipient, wire=bare_form(recipient.wire))
