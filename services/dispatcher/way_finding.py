"""What finds the way to a domain, put together for a command as ``main`` does it for the dispatcher.

Promises: the parts are the dispatcher's own, so that what a command says is what the dispatcher does; nothing is
written, and no policy of MTA-STS is remembered.
Fails with ``click.UsageError`` for options and settings that cannot be.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import click
import structlog
from pydantic import ValidationError

from services.dispatcher.dane import Dane
from services.dispatcher.dns_lookup import DnsLookup
from services.dispatcher.mta_sts import FetchParameters, MtaSts, StsParameters
from services.dispatcher.policy import Policies, PolicyInvalid, load_policies
from services.dispatcher.resolver import Resolver, ResolverParameters
from services.dispatcher.settings import CommandSettings
from services.dispatcher.sts_fetch import StsFetcher
from services.dispatcher.sts_policy import StsPolicy
from services.dispatcher.tls_plan import TlsPlanner

DNS_TIMEOUT_S = 6.0
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Ways:
    """How to ask and to go; what an option does not say is as the settings say."""

    servers: tuple[str, ...]
    port: int
    dnssec: bool
    mta_sts: bool
    allow_private: bool
    ipv6: bool
    policy_dir: str
    ca_file: str
    mta_sts_port: int

    @property
    def fetching(self) -> FetchParameters:
        """How policies of MTA-STS are fetched."""
        return FetchParameters(port=self.mta_sts_port, ca_file=self.ca_file, allow_private=self.allow_private)


@dataclass(frozen=True, slots=True)
class WayFinder:
    """The parts; ``mta_sts`` is None where policies are not looked at."""

    lookup: DnsLookup
    resolver: Resolver
    mta_sts: MtaSts | None
    dane: Dane
    planner: TlsPlanner
    policies: Policies

    async def sts(self, domain: str) -> StsPolicy | None:
        """Give the domain's MTA-STS policy, if it is looked for and there is one."""
        return None if self.mta_sts is None else await self.mta_sts.policy(domain)

    async def close(self) -> None:
        """Stop what is under way."""
        await self.resolver.close()
        await self.dane.close()
        if self.mta_sts is not None:
            await self.mta_sts.close()


def settings() -> CommandSettings:
    """Read the settings.

    Raises: UsageError naming the variable.
    """
    try:
        return CommandSettings()
    except ValidationError as error:
        said = "; ".join(
            f"{'_'.join(('HAYABIN', *(str(part).upper() for part in one['loc'])))}: {one['msg']}"
            for one in error.errors(include_input=False)
        )
        raise click.UsageError(f"the environment has a setting that cannot be: {said}") from error


def servers_of(option: str | None, kept: CommandSettings) -> tuple[str, ...]:
    """Give the DNS servers of an option, or else of the settings."""
    if option is None:
        return kept.resolvers
    return tuple(part.strip() for part in option.split(",") if part.strip())


def way_finder(
    ways: Ways, lookup: Callable[[], DnsLookup] | None = None, fetcher: Callable[[DnsLookup], StsFetcher] | None = None
) -> WayFinder:
    """Put the parts together; ``lookup`` and ``fetcher`` make other ones than the usual.

    Raises: UsageError
    """
    try:
        asking = DnsLookup(ways.servers, timeout_s=DNS_TIMEOUT_S, trust_ad=ways.dnssec) if lookup is None else lookup()
        dane = Dane(asking, port=ways.port)
        fetching = None if fetcher is None else fetcher(asking)
        return WayFinder(
            lookup=asking,
            resolver=Resolver(
                ResolverParameters(allow_private=ways.allow_private, ipv6=ways.ipv6, trust_ad=ways.dnssec),
                lookup=asking,
            ),
            mta_sts=MtaSts(asking, StsParameters(ways.fetching), fetcher=fetching) if ways.mta_sts else None,
            dane=dane,
            planner=TlsPlanner(dane, ca_file=ways.ca_file),
            policies=load_policies(ways.policy_dir),
        )
    except PolicyInvalid as error:
        raise click.UsageError(f"a policy file: {error}") from error
    except ValueError as error:
        raise click.UsageError(f"DNS servers are given as ip, ip:port or [ip]:port: {error}") from error
    except OSError as error:
        raise click.UsageError(f"the file of CAs cannot be read: {error}") from error


def run(work: Coroutine[Any, Any, Answer]) -> Answer:
    """Do a command's work to its end, with the log silent: the command says itself what happens."""
    before = structlog.get_config() if structlog.is_configured() else None
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        return asyncio.run(work)
    finally:
        if before is None:
            structlog.reset_defaults()
        else:
            structlog.configure(**before)
