"""Batches and mails in hand.

Promises: a batch is acknowledged when every mail of it was refused by the gate, or has its outcome in the ledger; it
goes back to the belt if the process stops before.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

from opentelemetry.context import Context

from hayabin.broker import Delivery
from hayabin.contracts.dispatch_pb2 import Mail, MailBatch


@dataclass(slots=True, eq=False)
class BatchInHand:
    """A delivery and how many of its mails are not settled yet; ``settled`` is called when there are none."""

    delivery: Delivery
    campaign_id: int
    lane: str
    launched_at: datetime
    context: Context
    open_mails: int
    given_back: bool = False
    all_settled: asyncio.Event = field(default_factory=asyncio.Event)

    def settle_one(self) -> None:
        """One mail less."""
        self.open_mails -= 1
        if self.open_mails == 0:
            self.all_settled.set()


@dataclass(slots=True, eq=False)
class Job:
    """One mail in hand; ``attempt`` counts the attempts begun before this one."""

    batch: BatchInHand
    mail: Mail
    attempt: int
    arrived_s: float
    claimed: bool = False
    fresh_starts: int = 0  # times that a connection closed before this mail was offered on it

    @property
    def message_id(self) -> int:
        """The ledger id."""
        return self.mail.message_id

    def give_back(self) -> None:
        """Not sent by this process: the batch returns to the belt, and the gate sorts out the rest."""
        self.batch.given_back = True
        self.batch.settle_one()

    def settle(self) -> None:
        """The ledger has what became of it, or it was none of our business."""
        self.batch.settle_one()


def take_in_hand(delivery: Delivery, batch: MailBatch, context: Context, now_s: float) -> list[Job]:
    """The jobs of a batch."""
    launched_at = datetime.fromtimestamp(batch.launched_ms / 1000, UTC)
    in_hand = BatchInHand(delivery, batch.campaign_id, batch.lane, launched_at, context, len(batch.mails))
    return [Job(in_hand, mail, batch.attempt, now_s) for mail in batch.mails]
