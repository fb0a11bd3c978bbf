"""A mail whose commands follow the final dot of the one before in one write (RFC 2920 §3.1).

Promises: keeps the replies that come while nobody waits for them, up to the first that calls for something; what that
is waits until the mail's turn comes. It cannot fail.
"""

from typing import Final

from hayabin.domain.smtp_reply import Reply
from services.dispatcher.envelope import Envelope
from services.dispatcher.smtp_transaction import Step, Transaction
from services.dispatcher.transcript import Said

_WAIT: Final = Step.WAIT  # looked up once: it is compared for every reply


class Announced:
    """See the module; ``step`` is what the last reply calls for."""

    __slots__ = ("content", "envelope", "said", "step", "transaction")

    def __init__(self, envelope: Envelope, content: bytes, transaction: Transaction) -> None:
        """Begin with the commands, as they will be written; ``content`` is as it follows 354."""
        self.envelope, self.content, self.transaction = envelope, content, transaction
        self.said: list[Said] = [transaction.command]
        self.step = _WAIT

    def take(self, reply: Reply) -> bool:
        """Take a reply; False if there is nothing left to answer."""
        if self.step is not _WAIT:
            return False
        self.said.append(reply)
        self.step = self.transaction.take(reply)
        return True
