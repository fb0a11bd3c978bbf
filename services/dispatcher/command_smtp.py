"""``hayabin smtp trace``: an SMTP session spoken aloud, for a postmaster who wants to know why mail does not pass.

Promises: no mail is sent; exit code 0 where the session would have taken one (and the recipient, if one is named).
What is not given by an option is taken from a dispatcher's environment, as far as it is there.
Fails: with exit code 1 and a sentence that says what went wrong and what to do; 2 for options that cannot be.
"""

import ipaddress
import socket
import time
from dataclasses import dataclass
from typing import Any

import click

from hayabin.domain.address import AddressInvalid, parse_address
from hayabin.domain.policy import TlsMode
from services.dispatcher.aloud import AloudFetcher, AloudLookup
from services.dispatcher.egress import Proxy, parse_proxy
from services.dispatcher.settings import CommandSettings, Source
from services.dispatcher.trace import NotReady, Question, Trace
from services.dispatcher.trace_session import Recipient
from services.dispatcher.way_finding import DNS_TIMEOUT_S, Ways, run, servers_of, settings, way_finder

_COLOURS = {"C:": "cyan", "D:": "blue", "--": "bright_black"}


@dataclass(frozen=True, slots=True)
class _Screen:
    """Tells lines with the milliseconds since the beginning; in colour on a terminal alone, as click sees to it."""

    begun_s: float

    def __call__(self, line: str) -> None:
        """Show a line."""
        kind = line[:2]
        colour = _COLOURS.get(kind, "green")
        if kind == "S:" and line[3:4] in {"4", "5"}:
            colour = "red"
        click.echo(f"{(time.monotonic() - self.begun_s) * 1000:7.0f} ms  {click.style(line, fg=colour)}")


@click.group()
def smtp() -> None:
    """Speak to receiving servers by hand."""


@smtp.command("trace")
@click.argument("domain")
@click.option("--from-ip", help="Source IP. Default: the first of HAYABIN_SOURCE_IPS, or as the system chooses.")
@click.option("--ehlo", help="Name in EHLO. Default: that of the source IP in HAYABIN_SOURCE_IPS, or this host's name.")
@click.option("--mx", help="Speak to this host, or address, instead of the domain's MX hosts.")
@click.option("--rcpt", help="Ask for this recipient too (MAIL FROM:<>, RCPT TO, RSET). Default: no recipient.")
@click.option("--port", type=click.IntRange(1, 65535), help="Default: HAYABIN_SMTP_PORT, or 25.")
@click.option("--dns", help="DNS servers, ip or ip:port, by commas. Default: HAYABIN_DNS_SERVERS, or the system's.")
@click.option(
    "--tls", type=click.Choice([mode.value for mode in TlsMode]), help="Default: as the provider's policy says."
)
@click.option(
    "--dnssec", is_flag=True, help="The DNS servers validate, so DANE can be. Default: HAYABIN_DNSSEC, or no."
)
@click.option("--no-mta-sts", is_flag=True, help="Look for no MTA-STS policy. Default: HAYABIN_MTA_STS, or look.")
@click.option("--proxy", help="socks5://user:password@host:port. Default: the source IP's in HAYABIN_SOCKS5_PROXIES.")
@click.option(
    "--allow-private",
    is_flag=True,
    help="Speak to hosts in loopback and private space too. Default: HAYABIN_ALLOW_PRIVATE_MX, or no.",
)
@click.option(
    "--all-hosts", is_flag=True, help="Try every host and address; each must be ready. Default: until one is."
)
@click.option("--timeout", type=click.FloatRange(0.1), help="Seconds to wait. Default: as the provider's policy says.")
def trace(domain: str, **given: Any) -> None:
    """Speak an SMTP session to DOMAIN's mail servers aloud, without sending a mail.

    D: what the DNS says, C: what we say, S: what the server says, --: what it comes to.
    """
    kept = settings()
    source, any_source = _source(kept, given)
    question = Question(
        domain=_domain(domain),
        source=source,
        any_source=any_source,
        recipient=_recipient(given["rcpt"]),
        port=given["port"] or kept.smtp_port,
        host=None if given["mx"] is None else given["mx"].lower().rstrip("."),
        tls=None if given["tls"] is None else TlsMode(given["tls"]),
        timeout_s=given["timeout"],
        all_hosts=given["all_hosts"],
        allow_private=given["allow_private"] or kept.allow_private_mx,
    )
    ways = Ways(
        servers=servers_of(given["dns"], kept),
        port=question.port,
        dnssec=given["dnssec"] or kept.dnssec,
        mta_sts=kept.mta_sts and not given["no_mta_sts"],
        allow_private=question.allow_private,
        ipv6=":" in source.ip,
        policy_dir=kept.policy_dir,
        ca_file=kept.ca_file,
        mta_sts_port=kept.mta_sts_port,
    )
    try:
        run(_traced(question, ways))
    except NotReady as failure:
        raise click.ClickException(str(failure)) from failure
    click.echo("Ready: the session would have taken a mail; none was sent.")


async def _traced(question: Question, ways: Ways) -> None:
    tell = _Screen(time.monotonic())
    tell(f"-- DNS: {', '.join(ways.servers) or 'the servers of this system'}, {'' if ways.dnssec else 'no '}DNSSEC")
    aloud: list[AloudLookup] = []

    def lookup() -> AloudLookup:
        aloud.append(AloudLookup(ways.servers, timeout_s=DNS_TIMEOUT_S, trust_ad=ways.dnssec, tell=tell))
        return aloud[0]

    finder = way_finder(ways, lookup, lambda asking: AloudFetcher(asking, ways.fetching, tell=tell))
    try:
        await Trace(question, finder, aloud[0], tell).run()
    finally:
        await finder.close()


def _source(kept: CommandSettings, given: dict[str, Any]) -> tuple[Source, bool]:
    """Give the source, and whether the system is to choose its address."""
    wanted = None if given["from_ip"] is None else _address(given["from_ip"])
    known = next((source for source in kept.sources if wanted in (None, source.ip)), None)
    ip = wanted or (known.ip if known else "0.0.0.0")  # which stands for "as the system chooses"
    name = given["ehlo"] or (known.ehlo_name if known else socket.getfqdn())
    if not name.isascii() or not name.isprintable() or " " in name:
        raise click.BadParameter("a name of the DNS, such as mta1.example.jp", param_hint="--ehlo")
    proxy = _proxy(given["proxy"]) if given["proxy"] else (known.proxy if known else None)
    return Source(ip, name, proxy), not (wanted or known)


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise click.BadParameter("neither an IPv4 nor an IPv6 address", param_hint="--from-ip") from error


def _proxy(text: str) -> Proxy:
    try:
        return parse_proxy(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--proxy") from error


def _domain(text: str) -> str:
    """Give a domain in A-labels, by the rules that addresses go by."""
    try:
        return parse_address(f"postmaster@{text.strip().rstrip('.')}").domain
    except AddressInvalid as error:
        raise click.BadParameter(f"not the domain of an address: {error.detail}", param_hint="DOMAIN") from error


def _recipient(text: str | None) -> Recipient | None:
    if text is None:
        return None
    try:
        address = parse_address(text)
    except AddressInvalid as error:
        raise click.BadParameter(f"{error.reason}: {error.detail}", param_hint="--rcpt") from error
    return Recipient(address.wire, address.needs_smtputf8)
