"""What a session is told when it begins: its peer, what the server offers, how long to wait.

Promises: immutable; the defaults are those of the RFC. It cannot fail.
"""

from dataclasses import dataclass, field

from services.dispatcher.smtp_transaction import Extensions


@dataclass(frozen=True, slots=True)
class SmtpTimeouts:
    """How long to wait at each stage.

    Units: seconds.
    Source: RFC 5321 §4.5.3.2 (its minima).
    """

    greeting_s: float = 300.0
    mail_s: float = 300.0
    rcpt_s: float = 300.0
    data_s: float = 120.0
    block_s: float = 180.0
    dot_s: float = 600.0
    quit_s: float = 5.0  # not of the RFC: nothing depends on the reply to QUIT


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom a session talks to, for logs and transcripts; ``tls`` is the protocol version or None.

    ``tls_policy`` and ``tls_result`` are values of ``tls_plan.PlanName`` and ``tls_plan.TlsResult``.
    """

    host: str
    address: str
    port: int
    source_ip: str | None
    tls: str | None
    tls_policy: str = ""
    tls_result: str = ""


@dataclass(frozen=True, slots=True)
class SessionParameters:
    """What the connecting half found out and decided."""

    peer: Peer
    extensions: Extensions
    timeouts: SmtpTimeouts = field(default_factory=SmtpTimeouts)
    opening: tuple[str, ...] = ()  # the conversation so far, for the transcript
