"""The mails that the providers send back: a DSN for a mail that could not be delivered after all, a spam complaint.

Promises: a DSN has the three parts of RFC 3464 (text, per-recipient fields, returned header), a complaint those of
RFC 5965 (text, report fields, the mail); both are CRLF throughout, ready for DATA.
"""

from email import message_from_bytes
from email.message import EmailMessage, Message
from email.mime.base import MIMEBase
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.nonmultipart import MIMENonMultipart
from email.mime.text import MIMEText
from email.policy import SMTP
from email.utils import formatdate, make_msgid

from services.standalone.sandbox.journal import Entry

REPORTING_MTA = "mx.sandbox.test"


def build_dsn(entry: Entry, content: bytes) -> bytes:
    """The report that ``entry``'s recipient does not exist.

    Source: RFC 6522 (multipart/report), RFC 3464 §2.
    """
    domain = entry.recipient.rpartition("@")[2]
    text = MIMEText(
        f"This is the mail system at {domain}.\r\n\r\nYour message could not be delivered to <{entry.recipient}>:\r\n"
        "the address was removed.\r\n",
        "plain",
        "utf-8",
    )
    status = _fields_part("message", "delivery-status", [
        [("Reporting-MTA", f"dns; {REPORTING_MTA}"), ("Arrival-Date", formatdate(entry.at))],
        [
            ("Final-Recipient", f"rfc822; {entry.recipient}"),
            ("Action", "failed"),
            ("Status", "5.1.1"),
            ("Diagnostic-Code", "smtp; 550 5.1.1 user unknown"),
        ],
    ])  # fmt: skip
    report = MIMEMultipart("report", report_type="delivery-status")
    _address(report, f"MAILER-DAEMON@{domain}", entry.sender, "Undelivered Mail Returned to Sender")
    for part in (text, status, _returned_header(content)):
        report.attach(part)
    return report.as_bytes(policy=SMTP)


def build_complaint(entry: Entry, content: bytes, to: str) -> bytes:
    """The report that ``entry``'s recipient pressed the spam button.

    Source: RFC 5965 §2, §3.
    """
    domain = entry.recipient.rpartition("@")[2]
    text = MIMEText("This is an email abuse report for a message that our user received.\r\n", "plain", "utf-8")
    fields = _fields_part("message", "feedback-report", [
        [
            ("Feedback-Type", "abuse"),
            ("User-Agent", "HayabinSandbox/1"),
            ("Version", "1"),
            ("Original-Mail-From", f"<{entry.sender}>"),
            ("Original-Rcpt-To", f"<{entry.recipient}>"),
            ("Arrival-Date", formatdate(entry.at)),
            ("Source-IP", entry.peer),
        ]
    ])  # fmt: skip
    report = MIMEMultipart("report", report_type="feedback-report")
    _address(report, f"fbl@{domain}", to, f"FW: {entry.message_id}")
    for part in (text, fields, MIMEMessage(message_from_bytes(content))):
        report.attach(part)
    return report.as_bytes(policy=SMTP)


def _address(report: Message, sender: str, to: str, subject: str) -> None:
    report["From"] = sender
    report["To"] = to
    report["Subject"] = subject
    report["Date"] = formatdate()
    report["Message-ID"] = make_msgid(domain=REPORTING_MTA)
    report["Auto-Submitted"] = "auto-generated"


def _fields_part(kind: str, subtype: str, groups: list[list[tuple[str, str]]]) -> MIMEBase:
    """A part made of groups of header-like fields, with an empty line between groups."""
    part = MIMENonMultipart(kind, subtype)
    members: list[Message | str] = []
    for group in groups:
        member = EmailMessage()
        for name, value in group:
            member[name] = value
        members.append(member)
    part.set_payload(members)
    return part


def _returned_header(content: bytes) -> MIMEBase:
    part = MIMENonMultipart("text", "rfc822-headers")
    part.set_payload(content.partition(b"\r\n\r\n")[0].decode("utf-8", "replace").replace("\r\n", "\n") + "\n")
    return part
