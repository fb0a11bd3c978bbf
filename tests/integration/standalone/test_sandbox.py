"""The sandbox over real sockets: it behaves by the address, writes its journal, reports later and shows its mails."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiosmtplib
import dns.asyncresolver
import dns.resolver
import httpx
import pytest

from services.standalone.kept import keep_ports
from services.standalone.sandbox.behaviour import WORDS, Behaviour, behaviour_of
from services.standalone.sandbox.dns_server import DnsServer
from services.standalone.sandbox.journal import Journal, What, read_journal
from services.standalone.sandbox.mailbox import Mailbox
from services.standalone.sandbox.providers import Providers, ReportRoute
from services.standalone.sandbox.smtp_server import Client, SmtpServer
from services.standalone.sandbox.web import make_app
from services.standalone.sandbox.zone import Zone, publish

MX = "127.0.0.21"
RETURN_PATH = "b-abc@return.test"


@dataclass
class ReportsTaken:
    """Takes the sandbox's reports as the bounce service would; refuses the first ``refusals`` of them for now."""

    refusals: int = 0
    mails: list[tuple[str, list[str], bytes]] = field(default_factory=list)

    def on_recipient(self, _client: Client, _recipient: str) -> str:
        """Take every recipient."""
        return "250 2.1.5 ok"

    def on_mail(self, client: Client, content: bytes) -> str:
        """Keep the report."""
        if self.refusals:
            self.refusals -= 1
            return "451 4.3.0 not now"
        self.mails.append((client.sender or "", list(client.recipients), content))
        return "250 2.0.0 ok"


@dataclass
class Sandbox:
    """A running sandbox."""

    folder: Path
    ports: dict[str, int]
    mailbox: Mailbox
    zone: Zone
    reports: ReportsTaken

    async def send(self, recipient: str, subject: str = "hello", body: str = "body") -> aiosmtplib.SMTPResponse:
        """Send one mail and return the reply that decided."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = "Hayabin <news@sender.test>", "you@there.example", subject
        mail["Message-ID"] = "<1.x@sender.test>"
        mail.set_content(body)
        async with aiosmtplib.SMTP(hostname=MX, port=self.ports["smtp"], start_tls=False) as client:
            try:
                _, answer = await client.sendmail(RETURN_PATH, [recipient], mail.as_bytes())
            except aiosmtplib.SMTPRecipientsRefused as error:
                return aiosmtplib.SMTPResponse(error.recipients[0].code, error.recipients[0].message)
            except aiosmtplib.SMTPResponseException as error:
                return aiosmtplib.SMTPResponse(error.code, error.message)
            return aiosmtplib.SMTPResponse(250, answer)

    def journal(self) -> list[tuple[What, str]]:
        """What the sandbox wrote down."""
        return [(entry.what, entry.recipient) for entry in read_journal(self.folder / "journal.jsonl")]


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    ports = keep_ports(tmp_path / "ports.json", {"smtp": 0, "dns": 0, "reports": 0})
    taken = ReportsTaken()
    reports = SmtpServer(taken)
    await reports.start(["127.0.0.1"], ports["reports"])
    journal = Journal(tmp_path / "journal.jsonl")
    mailbox = Mailbox(tmp_path / "mails", tmp_path / "journal.jsonl")
    providers = Providers(journal, mailbox, ReportRoute("127.0.0.1", ports["reports"], "fbl@return.test", 0.05))
    smtp, zone = SmtpServer(providers), Zone(tmp_path / "zone.json")
    dns_server = DnsServer(zone)
    await smtp.start([MX], ports["smtp"])
    await dns_server.start("127.0.0.1", ports["dns"])
    yield Sandbox(tmp_path, ports, mailbox, zone, taken)
    await smtp.stop()
    await dns_server.stop()
    await providers.stop()
    await reports.stop()
    journal.close()


@pytest.mark.parametrize(
    ("word", "code", "start", "what"),
    [
        ("accept", 250, "2.0.0", What.ACCEPTED),
        ("greylist", 451, "4.7.1", What.DEFERRED),
        ("unknown", 550, "5.1.1", What.REJECTED),
        ("full", 552, "5.2.2", What.REJECTED),
        ("policy", 550, "5.7.1", What.REJECTED),
    ],
)
async def test_sandbox_first_try_answers_and_journals_by_the_word(
    sandbox: Sandbox, word: str, code: int, start: str, what: What
) -> None:
    """Each behaviour gives its own reply on the wire, and the journal says the same."""
    reply = await sandbox.send(f"{word}+1@there.example")
    assert (reply.code, reply.message[:5]) == (code, start)
    assert sandbox.journal() == [(what, f"{word}+1@there.example")]
    assert len(sandbox.mailbox) == (1 if what is What.ACCEPTED else 0)


async def test_sandbox_greylisted_mail_passes_at_the_second_try_of_every_mail(sandbox: Sandbox) -> None:
    """A retry passes, and the next mail to the same recipient is greylisted afresh, so that runs do not differ."""
    codes = [(await sandbox.send("greylist+1@there.example")).code for _ in range(4)]
    assert codes == [451, 250, 451, 250]


async def test_sandbox_returned_mail_gets_a_dsn_even_if_the_first_hand_in_is_deferred(sandbox: Sandbox) -> None:
    """An accepted mail comes back as a DSN with null reverse-path to the return path, and 451 is tried again."""
    sandbox.reports.refusals = 1
    assert (await sandbox.send("returned+1@there.example")).code == 250
    await wait_for(sandbox.reports.mails, 1)
    sender, recipients, content = sandbox.reports.mails[0]
    report: Any = message_from_bytes(content)
    status = next(part for part in report.walk() if part.get_content_type() == "message/delivery-status")
    fields = status.get_payload()[1]
    assert (sender, recipients) == ("", [RETURN_PATH])
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    assert (fields["Action"], fields["Status"]) == ("failed", "5.1.1")
    assert "returned+1@there.example" in fields["Final-Recipient"]
    assert b"\n" not in content.replace(b"\r\n", b"")
    await wait_for(lambda: [x for x in sandbox.journal() if x[0] is What.DSN_SENT], 1)


async def test_sandbox_complaint_sends_one_feedback_report_with_the_mail(sandbox: Sandbox) -> None:
    """The report goes to the feedback address and holds the original mail, by which it is matched."""
    await sandbox.send("complaint+1@there.example", "offer")
    await wait_for(sandbox.reports.mails, 1)
    _, recipients, content = sandbox.reports.mails[0]
    report: Any = message_from_bytes(content)
    kinds = [part.get_content_type() for part in report.walk()]
    assert recipients == ["fbl@return.test"]
    assert report.get_param("report-type") == "feedback-report"
    assert "message/feedback-report" in kinds
    assert "message/rfc822" in kinds
    assert b"Feedback-Type: abuse" in content
    assert b"Message-ID: <1.x@sender.test>" in content


async def test_sandbox_stored_mail_is_what_came_over_the_wire(sandbox: Sandbox) -> None:
    """Dots are unstuffed and nothing else changes, and a restart finds the mail again."""
    await sandbox.send("accept+1@there.example", "点", ".leading dot\r\n..two\r\n")
    content = sandbox.mailbox.content(1) or b""
    assert str(message_from_bytes(content).get_payload()).replace("\r\n", "\n") == ".leading dot\n..two\n"
    again = Mailbox(sandbox.folder / "mails", sandbox.folder / "journal.jsonl")
    assert again.content(1) == content
    assert again.store(b"x") == 2


async def test_sandbox_pipelined_data_after_refused_recipient_is_refused(sandbox: Sandbox) -> None:
    """With RFC 2920 the client sends DATA at once; without a valid recipient the session goes on after a 503."""
    reader, writer = await asyncio.open_connection(MX, sandbox.ports["smtp"])
    await reader.readline()
    writer.write(b"HELO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<unknown+1@there.example>\r\nDATA\r\nNOOP\r\nQUIT\r\n")
    codes = [line[:3] for line in (await reader.read()).splitlines()]
    assert codes == [b"250", b"250", b"550", b"503", b"250", b"221"]
    writer.close()


async def test_sandbox_over_long_line_ends_the_session(sandbox: Sandbox) -> None:
    """A client can not make the sandbox hold an endless line."""
    reader, writer = await asyncio.open_connection(MX, sandbox.ports["smtp"])
    await reader.readline()
    writer.write(b"X" * 200_000)
    assert (await reader.readline()).startswith(b"500")
    writer.close()


async def test_sandbox_dns_leads_every_domain_to_loopback_and_serves_published_records(sandbox: Sandbox) -> None:
    """No MX answer names a host outside, special domains behave as said, long TXT records survive."""
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], sandbox.ports["dns"]
    for domain in ("there.example", "docomo.ne.jp", "shop.workspace.example"):
        for record in await resolver.resolve(domain, "MX"):
            addresses = await resolver.resolve(record.exchange, "A")
            assert all(address.address.startswith("127.0.0.") for address in addresses)
    assert (await resolver.resolve("nullmx.example", "MX"))[0].exchange.to_text() == "."
    with pytest.raises(dns.resolver.NXDOMAIN):
        await resolver.resolve("nowhere.invalid", "MX")
    with pytest.raises(dns.resolver.NXDOMAIN):
        await resolver.resolve("k._domainkey.sender.test", "TXT")
    long = "v=DKIM1; p=" + "A" * 1700 + '"\\'
    publish(sandbox.folder / "zone.json", {"k._domainkey.sender.test": {"TXT": [long]}})
    answer = await resolver.resolve("k._domainkey.sender.test", "TXT")
    assert b"".join(answer[0].strings).decode() == long
    publish(sandbox.folder / "zone.json", {"return.test": {"MX": ["10 mx.host"]}, "odd.test": {"MX": ["no record"]}})
    assert (await resolver.resolve("return.test", "MX"))[0].exchange.to_text() == "mx.host."
    with pytest.raises(dns.resolver.NoNameservers):
        await resolver.resolve("odd.test", "MX")


async def test_mailbox_page_shows_hostile_mail_without_running_or_loading_it(sandbox: Sandbox) -> None:
    """Markup in header fields is inert, and the HTML part is served sandboxed, images only when asked for."""
    mail = EmailMessage()
    mail["From"], mail["Subject"] = "a@b.test", "<script>alert(1)</script> 夏"
    mail.set_content("text <b>")
    mail.add_alternative("<p>hi</p><script>1</script><img src='http://127.0.0.1/o/x'>", subtype="html")
    async with aiosmtplib.SMTP(hostname=MX, port=sandbox.ports["smtp"], start_tls=False) as client:
        await client.sendmail(RETURN_PATH, ["accept+1@there.example"], mail.as_bytes())
    transport = httpx.ASGITransport(make_app(sandbox.mailbox, sandbox.zone))
    async with httpx.AsyncClient(transport=transport, base_url="http://sandbox") as client:
        listed = await client.get("/?lang=en&q=夏")
        unmatched = await client.get("/?lang=ja&q=nothing")
        shown = await client.get("/mails/1?lang=en")
        html = await client.get("/mails/1/html")
        with_images = await client.get("/mails/1/html?images=1")
        source = await client.get("/mails/1/source")
        missing = await client.get("/mails/99")
    assert "&lt;script&gt;" in listed.text
    assert "<script" not in listed.text
    assert "メールはありません" in unmatched.text
    assert "<script" not in shown.text
    assert "text &lt;b&gt;" in shown.text
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    assert "sandbox allow-popups" in html.headers["content-security-policy"]
    assert "http:" not in html.headers["content-security-policy"]
    assert "img-src data: http: https:" in with_images.headers["content-security-policy"]
    assert source.content == sandbox.mailbox.content(1)
    assert missing.status_code == 404


def test_behaviour_is_stable_for_case_and_quotes() -> None:
    """The hash sees one spelling, so the prediction holds for what the wire says."""
    assert behaviour_of('"A..b"@docomo.ne.jp') is behaviour_of("a..b@DOCOMO.ne.jp")
    assert {behaviour_of(f"{word}+x@a.example") for word in WORDS} == set(Behaviour)


def test_behaviour_shares_over_many_addresses_are_as_stated() -> None:
    """The hash spreads: each behaviour's share is within a third of what SHARES_PER_MILLE says."""
    many = [behaviour_of(f"person{number}@there.example") for number in range(20_000)]
    for behaviour, share in {Behaviour.GREYLIST: 60, Behaviour.UNKNOWN: 30, Behaviour.RETURNED: 15}.items():
        assert abs(many.count(behaviour) / 20 - share) < share / 3
    assert Behaviour.COMPLAINT not in many


async def wait_for(source: object, count: int) -> None:
    """Wait until a list, or what a function returns, has that many members."""
    for _ in range(200):
        if len(source() if callable(source) else source) >= count:  # type: ignore[arg-type]
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"not {count} in time")
