"""The servers that stand in for the outside world do what they say, seen by other people's clients."""

import asyncio
import email
import email.policy
import json
import signal
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.asyncresolver
import dns.nameserver
import pytest

from tests.support.dns_zone import DnsZone
from tests.support.mx_behaviour import parse_line, parse_rules
from tests.support.mx_journal import Journal, read_journal
from tests.support.scripted_mx import Listener, ScriptedMx

ROOT = Path(__file__).resolve().parents[3]
CONTENT = b"From: a@example.jp\r\nMessage-ID: <77@example.jp>\r\nSubject: x\r\n\r\n.dot\r\n..\r\n"


@contextmanager
def process(module: str, config: Path) -> Iterator[dict[str, object]]:
    """Run a server as a process of its own; give what it says when it is ready."""
    command = [sys.executable, "-m", module, "--config", str(config)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert child.stdout is not None
    try:
        yield json.loads(child.stdout.readline())
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=10) == 0, "it ends on SIGTERM"
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


async def test_mx_process_journals_and_stores_mail_of_smtplib(tmp_path: Path) -> None:
    """As a process: several listeners, STARTTLS, a journal on disk that names listener, peer and content."""
    listeners = [
        {
            "address": "127.0.0.2",
            "name": "mx1.example.jp",
            "manners": "starttls",
            "recipients": {"no@": "reject rcpt 550 5.1.1 no"},
        },
        {"address": "127.0.0.3", "name": "mx2.example.jp"},
    ]
    config = tmp_path / "mx.json"
    config.write_text(json.dumps({"journal": "j.jsonl", "store": "mails", "fsync": True, "listeners": listeners}))

    def talk(ports: list[dict[str, object]]) -> None:
        for entry in ports:
            with smtplib.SMTP(
                str(entry["address"]), int(str(entry["port"])), "me.example", source_address=("127.0.0.7", 0)
            ) as client:
                client.ehlo()
                if client.has_extn("starttls"):
                    client.starttls()
                refused = client.sendmail("b@example.jp", ["yes@example.com", "no@example.com"], CONTENT)
                assert set(refused) == ({"no@example.com"} if entry["name"] == "mx1.example.jp" else set())

    with process("tests.support.scripted_mx", config) as ready:
        await asyncio.to_thread(talk, ready["listeners"])  # type: ignore[arg-type]
        entries = read_journal(tmp_path / "j.jsonl")
    assert [(e.listener.split("/")[0], e.rcpt_to, e.tls) for e in entries] == [
        ("mx1.example.jp", "yes@example.com", True),
        ("mx2.example.jp", "yes@example.com", False),
        ("mx2.example.jp", "no@example.com", False),
    ]
    assert {(e.peer_ip, e.ehlo, e.mail_from, e.message_id) for e in entries} == {
        ("127.0.0.7", "me.example", "b@example.jp", "<77@example.jp>"),
    }
    assert Path(entries[0].eml).read_bytes() == CONTENT
    assert email.message_from_bytes(CONTENT, policy=email.policy.default)["message-id"] == entries[0].message_id


async def test_mx_greylist_counts_each_recipient() -> None:
    """The first tries of each recipient are put off, later ones are taken."""
    async with ScriptedMx(Listener(recipients={"grey.example": "greylist 2"})) as mx:

        def talk() -> list[int]:
            codes = []
            for recipient in (
                "a@grey.example",
                "b@grey.example",
                "a@grey.example",
                "a@grey.example",
                "c@other.example",
            ):
                with smtplib.SMTP("127.0.0.1", mx.port) as client:
                    try:
                        client.sendmail("b@example.jp", [recipient], CONTENT)
                        codes.append(250)
                    except smtplib.SMTPRecipientsRefused as refused:
                        codes.append(refused.recipients[recipient][0])
            return codes

        assert await asyncio.to_thread(talk) == [451, 451, 451, 250, 250]
        assert [entry.rcpt_to for entry in mx.entries] == ["a@grey.example", "c@other.example"]


@pytest.mark.parametrize(
    ("pattern", "address", "fits"),
    [
        ("grey.example", "a@grey.example", True),
        ("grey.example", "a@GREY.example", True),
        ("grey.example", "a@not-grey.example", False),
        ("nobody@", "nobody@any.example", True),
        ("bounce-*@", "bounce-7@any.example", True),
        ("a@b.example", "a@b.example", True),
        ("*.jp", "x@docomo.ne.jp", True),
        ("*", "x@y", True),
    ],
)
def test_mx_rule_pattern_fits(pattern: str, address: str, fits: bool) -> None:
    """Patterns are domains, local parts, addresses, or globs of them."""
    assert parse_rules({pattern: "accept"})[0].fits(address) is fits


@pytest.mark.parametrize(
    "line", ["reject", "reject nowhere 550 no", "greylist", "dance", "slow", "defer x rcpt 450 no"]
)
def test_mx_unknown_behaviour_refused(line: str) -> None:
    """A script with a typing error does not pass for an accepting server."""
    with pytest.raises(ValueError, match=r"."):
        parse_line(line)


def test_journal_unfinished_last_line_not_read(tmp_path: Path) -> None:
    """A reader never sees half an entry of a writer that is still at it."""
    Journal(tmp_path / "j").close()
    (tmp_path / "j").write_text('{"ts": 1, "lis', encoding="utf-8")
    assert read_journal(tmp_path / "j") == []
    assert read_journal(tmp_path / "none") == []


async def test_dns_process_answers_and_ends(tmp_path: Path) -> None:
    """As a process: the zone of the file, over UDP."""
    config = tmp_path / "zone.json"
    config.write_text(json.dumps({"ttl": 7, "zone": {"a.example": {"MX": "10 mx.a.example.", "TXT": '"v=spf1 -all"'}}}))
    with process("tests.support.dns_zone", config) as ready:
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers = [dns.nameserver.Do53Nameserver(str(ready["address"]), int(str(ready["port"])))]
        answer = await resolver.resolve("a.example", "MX")
        assert (answer.rrset is not None and answer.rrset.ttl, answer[0].to_text()) == (7, "10 mx.a.example.")
        assert (await resolver.resolve("a.example", "TXT"))[0].to_text() == '"v=spf1 -all"'


def test_dns_zone_wildcards_and_gaps() -> None:
    """Wildcards answer for what is below them; a name between two others exists without records."""
    zone = DnsZone(
        {
            "*.wild.example": {"A": "127.0.0.2"},
            "own.wild.example": {"A": "127.0.0.3"},
            "x.gap.example": {"A": "127.0.0.4"},
        }
    )
    assert zone._node("any.wild.example") == {"A": "127.0.0.2"}
    assert zone._node("a.b.wild.example") == {"A": "127.0.0.2"}
    assert zone._node("own.wild.example") == {"A": "127.0.0.3"}
    assert zone._node("gap.example") == {}
    assert zone._node("none.example") is None
