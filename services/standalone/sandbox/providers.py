"""The sandbox's receiving side: judges recipients, keeps mails, writes the journal, sends reports a while later.

Promises: what a recipient is answered follows from ``behaviour_of`` alone; each answer is journalled before it is
given; a report that the bounce service refuses for now is tried again, and is journalled when it is given up.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import assert_never

import aiosmtplib

from hayabin.telemetry.logging import address_hash, get_logger
from services.standalone.sandbox.behaviour import Behaviour, behaviour_of, canonical
from services.standalone.sandbox.journal import Entry, Journal, What
from services.standalone.sandbox.mailbox import Mailbox, heading_of
from services.standalone.sandbox.reports import build_complaint, build_dsn
from services.standalone.sandbox.smtp_server import Client

GREYLISTED_MAX = 100_000
REPORT_TRIES = 20
REPORT_RETRY_S = 1.0
REPORTS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class ReportRoute:
    """Where reports go, and when.

    Units: ``delay_s`` after the mail was taken.
    """

    host: str
    port: int
    feedback_address: str
    delay_s: float


class Providers:
    """All providers of the sandbox."""

    def __init__(self, journal: Journal, mailbox: Mailbox, route: ReportRoute) -> None:
        """Remember where to write and where to report to."""
        self._journal = journal
        self._mailbox = mailbox
        self._route = route
        self._greylisted: OrderedDict[str, None] = OrderedDict()
        self._reports: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(REPORTS_AT_ONCE)

    async def stop(self) -> None:
        """Give up the reports that wait."""
        for task in self._reports:
            task.cancel()
        await asyncio.gather(*self._reports, return_exceptions=True)

    def on_recipient(self, client: Client, recipient: str) -> str:
        """The reply to RCPT."""
        match behaviour_of(recipient):
            case Behaviour.UNKNOWN:
                return self._refuse(client, recipient, What.REJECTED, "550 5.1.1 user unknown")
            case Behaviour.GREYLIST if self._is_first_try(canonical(recipient)):
                return self._refuse(client, recipient, What.DEFERRED, "451 4.7.1 greylisted, try again later")
            case _:
                return "250 2.1.5 ok"

    def on_mail(self, client: Client, content: bytes) -> str:
        """The reply to the final dot: that of the first recipient, since our senders give one a mail."""
        behaviours = {recipient: behaviour_of(recipient) for recipient in client.recipients}
        for recipient, behaviour in behaviours.items():
            match behaviour:
                case Behaviour.FULL:
                    return self._refuse(client, recipient, What.REJECTED, "552 5.2.2 mailbox full")
                case Behaviour.POLICY:
                    return self._refuse(client, recipient, What.REJECTED, "550 5.7.1 refused by local policy")
                case Behaviour.ACCEPT | Behaviour.GREYLIST | Behaviour.RETURNED | Behaviour.COMPLAINT:
                    pass
                case Behaviour.UNKNOWN:
                    raise RuntimeError("an unknown recipient was refused at RCPT")
                case _:
                    assert_never(behaviour)
        for recipient, behaviour in behaviours.items():
            self._keep(client, recipient, behaviour, content)
        return "250 2.0.0 taken"

    def _is_first_try(self, recipient: str) -> bool:
        """Whether the recipient's next mail is at its first try; the second one passes and is forgotten."""
        if recipient in self._greylisted:
            del self._greylisted[recipient]
            return False
        self._greylisted[recipient] = None
        if len(self._greylisted) > GREYLISTED_MAX:  # bounds memory against senders that never come back
            self._greylisted.popitem(last=False)
        return True

    def _refuse(self, client: Client, recipient: str, what: What, reply: str) -> str:
        self._journal.write(_entry(client, recipient, what, reply))
        return reply

    def _keep(self, client: Client, recipient: str, behaviour: Behaviour, content: bytes) -> None:
        heading = heading_of(content)
        entry = replace(
            _entry(client, recipient, What.ACCEPTED, "250 2.0.0 taken"),
            mail=self._mailbox.store(content),
            message_id=heading.message_id,
            header_from=heading.header_from,
            subject=heading.subject,
            size_bytes=len(content),
        )
        self._journal.write(entry)
        self._mailbox.add(entry)
        if behaviour in {Behaviour.RETURNED, Behaviour.COMPLAINT} and entry.sender:
            task = asyncio.create_task(self._report(entry, behaviour, content))
            self._reports.add(task)
            task.add_done_callback(self._reports.discard)

    async def _report(self, entry: Entry, behaviour: Behaviour, content: bytes) -> None:
        """Send a DSN or a complaint, after a while."""
        await asyncio.sleep(self._route.delay_s)
        if behaviour is Behaviour.RETURNED:
            what, to, report = What.DSN_SENT, entry.sender, build_dsn(entry, content)
            sender = ""  # RFC 5321 §4.5.5: a DSN has the null reverse-path
        else:
            to = self._route.feedback_address
            what, report = What.COMPLAINT_SENT, build_complaint(entry, content, to)
            sender = f"fbl@{entry.recipient.rpartition('@')[2]}"
        reply = await self._send(sender, to, report)
        told = replace(entry, what=what if reply.startswith("250") else What.REPORT_LOST, reply=reply)
        self._journal.write(told)

    async def _send(self, sender: str, to: str, report: bytes) -> str:
        """Hand the report in; returns the last reply."""
        reply = ""
        for _ in range(REPORT_TRIES):
            try:
                async with (
                    self._slots,
                    aiosmtplib.SMTP(
                        hostname=self._route.host, port=self._route.port, timeout=10, start_tls=False
                    ) as client,
                ):
                    _, answer = await client.sendmail(sender, [to], report)
            except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
                reply = str(error)
                get_logger().warning("sandbox_report_deferred", to=address_hash(to), error=reply)
                if isinstance(error, aiosmtplib.SMTPRecipientsRefused) and error.recipients[0].code >= 500:
                    return reply
                await asyncio.sleep(REPORT_RETRY_S)
            else:
                return f"250 {answer}"
        return reply


def _entry(client: Client, recipient: str, what: What, reply: str) -> Entry:
    return Entry(
        what=what,
        recipient=canonical(recipient),
        sender=client.sender or "",
        reply=reply,
        server=client.server,
        peer=client.peer,
        ehlo=client.ehlo,
    )
