"""Batches and mails in hand.

Promises: a batch is acknowledged when the ledger has each of its mails as claimed or settled, or this process has taken
it over (``detach``): a mail that waits for a slow destination does not keep its batch, and so a place in the queue,
from others. What was taken over is due in the ledger under its lease: lost with the process, it is fed again. What is
not, goes back to the belt when the process stops.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from opentelemetry.context import Context

from hayabin.broker import Delivery
from hayabin.contracts.dispatch_pb2 import Mail, MailBatch
from services.dispatcher.intake import Intake


@dataclass(slots=True, eq=False)
class BatchInHand:
    """A delivery and how many of its mails still need it; ``all_settled`` is set when none does."""

    delivery: Delivery
    campaign_id: int
    lane: str
    launched_at: datetime
    context: Context
    open_mails: int
    lease_expires_s: float = math.inf  # of the ledger's clock (Unix)
    given_back: bool = False
    all_settled: asyncio.Event = field(default_factory=asyncio.Event)
    transactional: bool = False
    intake: Intake = field(default_factory=Intake)

    def settle_one(self, *, begun: bool) -> None:
        """One mail less; ``begun`` where the gate let it through."""
        self.intake.left(begun=begun)
        self.open_mails -= 1
        if self.open_mails == 0:
            self.all_settled.set()


@dataclass(slots=True)
class TakenOver:
    """How many mails this process took over from their batches and still has; ``most`` bounds memory."""

    most: int
    mails: int = 0

    def has_room(self, *, transactional: bool) -> bool:
        """Tell whether another one may be taken; transactional mail has as much room again."""
        return self.mails < self.most * (2 if transactional else 1)


@dataclass(slots=True, eq=False)
class Job:
    """One mail in hand; ``attempt`` counts the attempts begun before this one."""

    batch: BatchInHand
    message_id: int
    attempt: int
    arrived_s: float
    recipient: str
    return_path: str
    content: bytes
    claimed: bool = False
    misaddressed: bool = False  # the ledger knows another mailbox: it must not be sent
    fresh_starts: int = 0  # times that a connection closed before this mail was offered on it
    _settled: Callable[[], None] = lambda: None
    _holds_batch: bool = True
    _taken_over: TakenOver | None = None

    @property
    def detached(self) -> bool:
        """Whether this process took it over from its batch."""
        return self._taken_over is not None

    def detach(self, taken_over: TakenOver) -> bool:
        """Take it over, whatever becomes of its batch; False if there is no room for it."""
        if self._taken_over is None:
            if not taken_over.has_room(transactional=self.batch.transactional):
                return False
            taken_over.mails += 1
            self._taken_over = taken_over
            self._let_batch_go()
        return True

    def claim(self, settled: Callable[[], None] = lambda: None) -> None:
        """The gate let it through: from here on the ledger says what becomes of it; then ``settled`` is called."""
        self.claimed = True
        self._settled = settled
        self._let_go()

    def give_back(self) -> None:
        """Not sent by this process: the batch returns to the belt, and the gate sorts out the rest."""
        self.batch.given_back = self.batch.given_back or self._holds_batch
        self._let_go()

    def settle(self) -> None:
        """The ledger has what became of it, or it was none of our business."""
        self._settled()
        self._let_go()

    def _let_go(self) -> None:
        if self._taken_over is not None:
            self._taken_over.mails -= 1
            self._taken_over = None
        self._let_batch_go()

    def _let_batch_go(self) -> None:
        if self._holds_batch:
            self._holds_batch = False
            self.batch.settle_one(begun=self.claimed)


def take_in_hand(
    delivery: Delivery, batch: MailBatch, context: Context, now_s: float, intake: Intake | None = None
) -> list[Job]:
    """The jobs of a batch that ``intake`` let in.

    They hold nothing of the message itself, so that one of them does not keep all in memory.
    """
    launched_at = datetime.fromtimestamp(batch.launched_ms / 1000, UTC)
    in_hand = BatchInHand(
        delivery,
        batch.campaign_id,
        batch.lane,
        launched_at,
        context,
        len(batch.mails),
        batch.lease_expires_ms / 1000,
        transactional=batch.lane.startswith("transactional-"),
        intake=intake or Intake(mails=len(batch.mails)),
    )
    return [_job(in_hand, mail, batch.attempt, now_s) for mail in batch.mails]


def _job(in_hand: BatchInHand, mail: Mail, attempt: int, now_s: float) -> Job:
    return Job(in_hand, mail.message_id, attempt, now_s, mail.recipient, mail.return_path, mail.content)
