"""Why no session came about.

Promises: nothing of a mail was sent; the verdict is never permanent and never about an address, as none was named.
"""

from hayabin.domain.bounce_reason import BounceReason, Verdict, classify
from hayabin.domain.smtp_reply import Reply, SmtpPhase


class ConnectFailure(Exception):
    """No session came about; nothing was sent."""

    def __init__(
        self, phase: SmtpPhase, reason: BounceReason, detail: str, reply: Reply | None = None, *, tls_result: str = ""
    ) -> None:
        """Keep where it ended, why, and the server's reply if it gave one; ``detail`` is for people.

        ``tls_result`` is a value of ``tls_plan.TlsResult`` where TLS failed.
        """
        super().__init__(f"{phase}: {reply or detail}")
        self.phase = phase
        self.reason = reason
        self.detail = detail
        self.reply = reply
        self.tls_result = tls_result
        self.lines: tuple[str, ...] = ()  # the conversation up to the failure

    @property
    def verdict(self) -> Verdict:
        """Give what it means for the mails that were to go this way: try again."""
        if self.reply is not None and self.reply.code >= 400:
            return classify(self.reply, self.phase)
        return Verdict(permanent=False, hard=False, reason=self.reason, suppress=False)
