"""``hayabin smtp trace``: a session spoken aloud against a scripted zone and scripted servers; no mail is ever sent."""

import asyncio
import contextlib
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.dispatcher.dane_match import public_key_info
from tests.support.command_run import Ran, run_command
from tests.support.dns_zone import DnsZone, Zone
from tests.support.scripted_mx import Listener, ScriptedMx
from tests.support.self_signed import Authority, self_signed
from tests.support.socks5_proxy import Socks5Proxy, running
from tests.support.sts_server import StsServer, response

ZONE: Zone = {
    "example.jp": {"MX": ["20 mx2.example.jp.", "10 mx1.example.jp."]},
    "mx1.example.jp": {"A": "127.0.0.2"},
    "mx2.example.jp": {"A": "127.0.0.3"},
    "alone.example": {"A": "127.0.0.2"},
    "null.example": {"MX": "0 ."},
    "broken.example": "SERVFAIL",
    "nowhere.example": {"MX": "10 gone.nowhere.example."},
}
PLAIN = Listener("127.0.0.2", name="mx1.example.jp")
SECOND = Listener("127.0.0.3", name="mx2.example.jp")
ENDED = "Ready: the session would have taken a mail; none was sent."


@dataclass
class Bench:
    """A zone and servers, and the command pointed at them."""

    dns: DnsZone
    mx: ScriptedMx

    async def trace(self, *words: str, **settings: str) -> Ran:
        """Run the command."""
        where = ("--dns", f"127.0.0.1:{self.dns.port}", "--port", str(self.mx.port), "--allow-private")
        given = words if "--ehlo" in words or "source_ips" in settings else (*words, "--ehlo", "me.example")
        return await run_command("smtp", "trace", *given, *where, **settings)


@contextlib.asynccontextmanager
async def bench(*listeners: Listener, secure: tuple[str, ...] = ()) -> AsyncIterator[Bench]:
    """Give a bench with these servers, all on one port."""
    async with (
        DnsZone({**ZONE}, secure=secure) as dns,
        ScriptedMx(*(listeners or (PLAIN, SECOND)), same_port=True) as mx,
    ):
        yield Bench(dns, mx)


async def test_trace_plain_server_whole_session_shown() -> None:
    """Each answer and each line of both sides stands there in its order, and QUIT ends it; the second host is unused."""
    async with bench() as b:
        ran = await b.trace("Example.JP.")
        assert ran == Ran(0, [
            f"-- DNS: 127.0.0.1:{b.dns.port}, no DNSSEC",
            "D: example.jp MX: 10 mx1.example.jp., 20 mx2.example.jp. (TTL 60 s)",
            "D: mx1.example.jp A: 127.0.0.2 (TTL 60 s)",
            "D: mx2.example.jp A: 127.0.0.3 (TTL 60 s)",
            "-- MX 10 mx1.example.jp: 127.0.0.2",
            "-- MX 20 mx2.example.jp: 127.0.0.3",
            "D: _mta-sts.example.jp TXT: no such name (NXDOMAIN)",
            "-- MTA-STS: no policy",
            "-- provider: none of the known; TLS by its policy: opportunistic",
            "-- mx1.example.jp: DANE: no, as DNSSEC does not vouch for the way to it",
            "-- mx1.example.jp: TLS plan opportunistic: TLS where it can be had, with whatever certificate",
            f"-- to mx1.example.jp [127.0.0.2]:{b.mx.port} from any address",
            "S: 220 mx1.example.jp ESMTP ready",
            "C: EHLO me.example",
            "S: 250-mx1.example.jp",
            "S: 250-PIPELINING",
            "S: 250-SIZE 67108864",
            "S: 250-8BITMIME",
            "S: 250 ENHANCEDSTATUSCODES",
            "-- TLS: cleartext: in clear text",
            "-- extensions: 8BITMIME, ENHANCEDSTATUSCODES, PIPELINING, SIZE 67108864",
            "C: QUIT",
            "S: 221 2.0.0 Bye",
            ENDED,
        ], "")  # fmt: skip
        assert b.mx.record.commands == ["EHLO me.example", "QUIT"]


async def test_trace_starttls_version_and_certificate_shown() -> None:
    """Protocol, cipher, subject, issuer, names and dates are there, and EHLO is said again under TLS."""
    async with bench(Listener("127.0.0.2", name="mx1.example.jp", manners="starttls")) as b:
        ran = await b.trace("example.jp", "--mx", "mx1.example.jp", "--tls", "required", "--no-mta-sts")
    assert ran.code == 0
    assert "-- host mx1.example.jp, as --mx says: 127.0.0.2" in ran.lines
    assert "-- MTA-STS: not looked at" in ran.lines
    assert "-- provider: none of the known; TLS by its policy: opportunistic, but --tls says required" in ran.lines
    assert ran.lines.count("C: EHLO me.example") == 2
    at = ran.lines.index("-- TLS: TLSv1.3, TLS_AES_256_GCM_SHA384, 256 bits")
    assert ran.lines[at + 1] == "-- TLS: certificate of CN=mx1.example.jp, by CN=mx1.example.jp"
    assert ran.lines[at + 2] == "-- TLS: certificate for mx1.example.jp"
    assert ran.lines[at + 3].startswith("-- TLS: certificate valid from 20")
    assert ran.lines[at + 4] == "-- TLS: unverified: encrypted; nothing was asked of the certificate"


async def test_trace_recipient_accepted_never_data() -> None:
    """MAIL with the empty path, RCPT, RSET, QUIT; no DATA, and no mail arrives."""
    async with bench() as b:
        ran = await b.trace("example.jp", "--rcpt", "Taro@example.jp")
        assert ran.code == 0
        assert ran.lines[-9:] == [
            "C: MAIL FROM:<>",
            "S: 250 2.1.0 Ok",
            "C: RCPT TO:<Taro@example.jp>",
            "S: 250 2.1.5 Ok",
            "C: RSET",
            "S: 250 2.0.0 Ok",
            "C: QUIT",
            "S: 221 2.0.0 Bye",
            ENDED,
        ]
        assert b.mx.entries == []


async def test_trace_recipient_refused_fails_with_the_reply_and_asks_no_other_host() -> None:
    """A refusal of the recipient is the domain's word: the sentence has it, and what would have become of a mail."""
    async with bench(Listener("127.0.0.2", recipients={"nobody@": "reject rcpt 550 5.1.1 no such user"}), SECOND) as b:
        ran = await b.trace("example.jp", "--rcpt", "nobody@example.jp")
        assert ran.code == 1
        assert ran.error == (
            "Error: mx1.example.jp: RCPT was refused: 550 5.1.1 no such user. A mail would have bounced; see what the "
            "reply says of the address or of this source IP."
        )
        assert ran.lines[-4:] == ["C: RSET", "S: 250 2.0.0 Ok", "C: QUIT", "S: 221 2.0.0 Bye"]
        assert b.mx.record.connections == 1


async def test_trace_address_beyond_ascii_without_smtputf8_refused_here() -> None:
    """Nothing is asked of a server that does not know such addresses."""
    async with bench() as b:
        ran = await b.trace("example.jp", "--rcpt", "太郎@example.jp")
        assert (ran.code, "553 5.6.7" in ran.error) == (1, True)
        assert not [line for line in ran.lines if line.startswith("C: MAIL")]


@pytest.mark.parametrize(
    ("domain", "last", "error"),
    [
        (
            "null.example",
            "D: null.example MX: 0 . (TTL 60 s)",
            "556 5.1.10 the domain takes no mail (null MX). Mail to it bounces; take its addresses out of the lists.",
        ),
        (
            "none.example",
            "D: none.example MX: no such name (NXDOMAIN)",
            "550 5.1.2 the domain does not exist. Mail to it bounces; look for a typing error in the domain.",
        ),
        (
            "broken.example",
            "D: broken.example MX: no answer: SERVFAIL",
            "451 4.4.3 the DNS gives no answer for the domain. Mail to it is deferred and tried again; ",
        ),
        (
            "nowhere.example",
            "D: gone.nowhere.example AAAA: no such name (NXDOMAIN)",
            "550 5.4.4 no host of the domain has an address. Mail to it bounces; its postmaster must give the MX ",
        ),
    ],
)
async def test_trace_no_way_says_why_and_what_to_do(domain: str, last: str, error: str) -> None:
    """Each way of having no way has its code and something to do; nobody is connected to."""
    async with bench() as b:
        ran = await b.trace(domain)
        assert (ran.code, ran.lines[-1]) == (1, last)
        assert ran.error.startswith(f"Error: {domain}: {error}")
        assert b.mx.record.connections == 0


async def test_trace_domain_without_mx_is_its_own_host() -> None:
    """The implicit MX is named as such."""
    async with bench() as b:
        ran = await b.trace("alone.example")
    assert ran.code == 0
    assert ran.lines[1:5] == [
        "D: alone.example MX: no such record (NODATA)",
        "D: alone.example A: 127.0.0.2 (TTL 60 s)",
        "-- no MX: the domain itself is the host (implicit MX)",
        "-- MX 0 alone.example: 127.0.0.2",
    ]


async def test_trace_first_host_refuses_second_is_ready() -> None:
    """As the dispatcher does, it goes on to the next host; with --all-hosts that is a failure, and both are asked."""
    async with bench(Listener("127.0.0.2", manners="reject connect 554 5.7.1 not you"), SECOND) as b:
        assert (await b.trace("example.jp")).code == 0
        ran = await b.trace("example.jp", "--all-hosts")
    assert ran.code == 1
    assert "S: 554 5.7.1 not you" in ran.lines
    assert "S: 220 mx2.example.jp ESMTP ready" in ran.lines
    assert ran.error.startswith("Error: mx1.example.jp: refused at CONNECT: 554 5.7.1 not you. Mail is deferred;")


async def test_trace_tls_required_and_not_offered_fails() -> None:
    """What is asked of TLS and not there is an error that names it."""
    async with bench() as b:
        ran = await b.trace("example.jp", "--mx", "127.0.0.3", "--tls", "required")
    assert ran.code == 1
    assert ran.error.startswith("Error: 127.0.0.3: the server offers no STARTTLS. Mail is deferred")


async def test_trace_mta_sts_bad_certificate_refused_and_shown(tmp_path: Path) -> None:
    """The policy is fetched and kept to: a certificate of nobody is refused; another connection shows what it is."""
    ca = Authority()
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    policy = "version: STSv1\nmode: enforce\nmx: mx1.example.jp\nmax_age: 86400\n"
    async with (
        bench(Listener("127.0.0.2", manners="starttls", identity=self_signed("mx1.example.jp"))) as b,
        StsServer(ca.identity(["mta-sts.example.jp"]), response(policy)) as sts,
    ):
        b.dns.zone |= {"_mta-sts.example.jp": {"TXT": '"v=STSv1; id=1;"'}, "mta-sts.example.jp": {"A": "127.0.0.1"}}
        ran = await b.trace("example.jp", mta_sts_port=str(sts.port), ca_file=str(tmp_path / "ca.pem"))
    assert ran.code == 1
    assert "-- MTA-STS: policy 1, enforce, for 86400 s, hosts: mx1.example.jp" in ran.lines
    assert (
        "-- mx1.example.jp: TLS plan mta-sts: TLS with a valid certificate that has the host's name, or no mail"
        in ran.lines
    )
    assert "-- TLS: certificate of CN=mx1.example.jp, by CN=mx1.example.jp" in ran.lines
    assert (
        "-- mx2.example.jp: failed-mx-not-in-policy: the domain's MTA-STS policy does not name this host" in ran.lines
    )
    assert "- mx1.example.jp: the certificate comes from nobody that we trust (self-signed certificate)." in ran.error


async def test_trace_dane_certificate_matches_verified() -> None:
    """Where the resolver vouches for the zone, the TLSA record is asked for and holds."""
    identity = self_signed("mx1.example.jp")
    digest = hashlib.sha256(public_key_info(identity.der[0])).hexdigest()
    async with bench(Listener("127.0.0.2", manners="starttls", identity=identity), secure=("example.jp",)) as b:
        b.dns.zone[f"_{b.mx.port}._tcp.mx1.example.jp"] = {"TLSA": f"3 1 1 {digest}"}
        ran = await b.trace("example.jp", "--dnssec")
    assert ran.code == 0
    assert f"D: _{b.mx.port}._tcp.mx1.example.jp TLSA: 3 1 1 {digest} (TTL 60 s), DNSSEC vouches for it" in ran.lines
    assert (
        "-- mx1.example.jp: TLS plan dane: TLS with a certificate that a TLSA record matches, or no mail" in ran.lines
    )
    assert "-- TLS: verified-dane: encrypted; the certificate matches a TLSA record" in ran.lines


async def test_trace_settings_of_a_dispatcher_are_the_defaults() -> None:
    """Source IP, its EHLO name and its proxy are taken from the environment, and the options stand over them."""
    settings = {"source_ips": "127.0.0.7=mta7.example.jp,127.0.0.8=mta8.example.jp"}
    async with bench() as b, running(Socks5Proxy(source_ip="127.0.0.8")) as proxy:
        ran = await b.trace("example.jp", **settings)
        assert (ran.code, "C: EHLO mta7.example.jp" in ran.lines) == (0, True)
        assert f"-- to mx1.example.jp [127.0.0.2]:{b.mx.port} from 127.0.0.7" in ran.lines
        settings["socks5_proxies"] = f"127.0.0.8=socks5://127.0.0.1:{proxy.port}"
        ran = await b.trace("example.jp", "--from-ip", "127.0.0.8", **settings)
        assert (ran.code, "C: EHLO mta8.example.jp" in ran.lines) == (0, True)
        through = f"through 127.0.0.1:{proxy.port}"
        assert f"-- to mx1.example.jp [127.0.0.2]:{b.mx.port} from 127.0.0.8 {through}" in ran.lines
        assert set(b.mx.record.most_open_from) == {"127.0.0.7", "127.0.0.8"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("localhost",), "not the domain of an address"),
        (("example.jp", "--from-ip", "here"), "neither an IPv4 nor an IPv6 address"),
        (("example.jp", "--proxy", "http://u:secret@x"), "a proxy is written socks5://"),
        (("example.jp", "--rcpt", "a b@example.jp"), "space_inside"),
        (("example.jp", "--dns", "ns.example"), "DNS servers are given as ip"),
    ],
)
async def test_trace_option_that_cannot_be_is_a_usage_error(words: tuple[str, ...], says: str) -> None:
    """Exit code 2 and what is wrong, without a password."""
    ran = await run_command("smtp", "trace", *words)
    assert (ran.code, says in ran.error, "secret" in ran.error) == (2, True, False)


async def test_trace_process_in_a_pipe_has_no_colour_and_no_log() -> None:
    """Run as a process of its own, it prints bare lines to standard output and the failure to standard error."""
    async with bench(SECOND) as b:
        words = ("smtp", "trace", "example.jp", "--allow-private", "--dns", f"127.0.0.1:{b.dns.port}")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.standalone.command", *words, "--port", "1", "--mx", "127.0.0.9",
            env={name: value for name, value in os.environ.items() if not name.startswith("HAYABIN_")},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, error = await process.communicate()
    assert process.returncode == 1
    assert b"\x1b" not in said + error
    assert all(b" ms  " in line for line in said.splitlines())
    assert error.startswith(b"Error: 127.0.0.9: no greeting: ")
    assert b"connection refused" in error
