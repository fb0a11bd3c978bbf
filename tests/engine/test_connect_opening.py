"""How a conversation began, in lines for the transcript; and how long each step of it may take."""

import asyncio
from pathlib import Path

import pytest

from hayabin.domain.policy import TlsMode
from hayabin.domain.smtp_reply import SmtpPhase
from services.dispatcher.connect import ConnectFailure, Target, open_session
from services.dispatcher.opening_lines import LONGEST_LINE, MOST_LINES
from services.dispatcher.smtp_session import SmtpTimeouts
from services.dispatcher.tls_plan import PlanName, Proof, TlsPlan, plan_of_mode
from tests.support.raw_server import Wire, raw_server
from tests.support.scripted_mx import Listener, ScriptedMx
from tests.support.self_signed import Authority

NAME = "mx.example.jp"
QUICK = SmtpTimeouts(greeting_s=0.5, quit_s=0.2)


def target(port: int, plan: TlsPlan, **fields: object) -> Target:
    """Go to loopback, without patience."""
    fields = {"source_ip": "127.0.0.8", "connect_timeout_s": 0.5, "timeouts": QUICK, "plan": plan} | fields
    return Target(NAME, "127.0.0.1", port, "mta.example.jp", **fields)  # type: ignore[arg-type]


async def opening_of(mx: ScriptedMx, plan: TlsPlan) -> list[str]:
    """Open a session; give how it began."""
    session = await open_session(target(mx.port, plan))
    await session.quit()
    return list(session._opening)


async def test_opening_lines_conversation_whole(tmp_path: Path) -> None:
    """The transcript begins with where we went, and has every line up to the EHLO under TLS."""
    authority, ca_file = Authority(), tmp_path / "ca.pem"
    ca_file.write_bytes(authority.pem)
    plan = TlsPlan(PlanName.MTA_STS, TlsMode.REQUIRED, Proof.PKIX, ca_file=str(ca_file))
    async with ScriptedMx(Listener(manners="starttls", identity=authority.identity([NAME]))) as mx:
        lines = await opening_of(mx, plan)
    offers = ["S: 250-mx.example.jp", "S: 250-PIPELINING", "S: 250-SIZE 67108864", "S: 250-8BITMIME"]
    assert lines == [
        f"-- to mx.example.jp [127.0.0.1]:{mx.port} from 127.0.0.8",
        "S: 220 mx.example.jp ESMTP ready",
        "C: EHLO mta.example.jp",
        *offers,
        "S: 250-STARTTLS",
        "S: 250 ENHANCEDSTATUSCODES",
        "C: STARTTLS",
        "S: 220 2.0.0 Ready to start TLS",
        "-- TLSv1.3 TLS_AES_256_GCM_SHA384, mta-sts, verified-pkix",
        "C: EHLO mta.example.jp",
        *offers,
        "S: 250 ENHANCEDSTATUSCODES",
    ]


async def test_opening_lines_fallback_shows_both_connections() -> None:
    """Where TLS failed and the mail went in clear, the transcript shows why."""
    async with ScriptedMx(Listener(manners="starttls; reject starttls 454 4.7.0 not now")) as mx:
        lines = await opening_of(mx, plan_of_mode(TlsMode.OPPORTUNISTIC))
    assert [line for line in lines if line.startswith(("--", "S: 454", "C: S"))] == [
        f"-- to mx.example.jp [127.0.0.1]:{mx.port} from 127.0.0.8",
        "C: STARTTLS",
        "S: 454 4.7.0 not now",
        "-- failed: 454 4.7.0 not now",
        f"-- to mx.example.jp [127.0.0.1]:{mx.port} from 127.0.0.8",
    ]


@pytest.mark.parametrize(
    ("manners", "last"),
    [
        ("reject connect 554 5.7.1 blocked", ["S: 554 5.7.1 blocked", "-- failed: 554 5.7.1 blocked"]),
        ("reject ehlo 550 5.7.1 bad name", ["S: 550 5.7.1 bad name", "-- failed: 550 5.7.1 bad name"]),
        ("stall ehlo", ["C: EHLO mta.example.jp", "-- failed: timed out"]),
        ("", ["S: 250 ENHANCEDSTATUSCODES", "-- failed: the server does not offer STARTTLS"]),
    ],
)
async def test_failure_lines_end_with_what_failed(manners: str, last: list[str]) -> None:
    """A failure brings the conversation along, up to the line that ended it."""
    async with ScriptedMx(Listener(manners=manners)) as mx:
        with pytest.raises(ConnectFailure) as caught:
            await open_session(target(mx.port, plan_of_mode(TlsMode.REQUIRED)))
    assert list(caught.value.lines[-2:]) == last


async def test_failure_lines_of_a_shouting_server_bounded() -> None:
    """A server that sends thousands of long lines full of control characters leaves a bounded, printable transcript."""

    async def script(wire: Wire) -> None:
        await wire.say(b"220 mx\x1b[31m\x00\x07 " + b"x" * 2000 + b"\r\n")
        await wire.hear(b"\r\n")
        await wire.say(b"".join(b"550-line %d \xff\x1b[2J\r\n" % number for number in range(500)) + b"550 end\r\n")

    async with raw_server(script) as (port, _):
        with pytest.raises(ConnectFailure) as caught:
            await open_session(target(port, plan_of_mode(TlsMode.NONE)))
    lines = caught.value.lines
    assert len(lines) == MOST_LINES
    assert max(len(line) for line in lines) == LONGEST_LINE
    assert lines[1].startswith("S: 220 mx?[31m?? xxx")
    assert all(line.isprintable() for line in lines)
    assert lines[-1] == "-- (more was left out)"


async def test_session_slow_greeting_waited_for_apart_from_connecting() -> None:
    """The wait for the greeting has its own limit, longer than that for the connection."""

    async def script(wire: Wire) -> None:
        await asyncio.sleep(0.3)
        await wire.greet()

    async with raw_server(script) as (port, _):
        session = await open_session(target(port, plan_of_mode(TlsMode.NONE), connect_timeout_s=0.1))
        session.abort()
        with pytest.raises(ConnectFailure) as caught:
            await open_session(
                target(port, plan_of_mode(TlsMode.NONE), timeouts=SmtpTimeouts(greeting_s=0.1), connect_timeout_s=5)
            )
    assert (caught.value.phase, caught.value.detail) == (SmtpPhase.CONNECT, "timed out")
