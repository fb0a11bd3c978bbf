"""Inbound reports into Postgres: parse, match by our signatures, ask the ledger, and change what follows.

Promises: one transaction for a report. A DSN of a refusal for good moves ``accepted`` or ``unknown`` to ``bounced``
and suppresses the address where the address is at fault; a complaint moves to ``complained`` and suppresses; a DSN of a
soft failure leaves an event (and proves that an ``unknown`` mail was accepted). The same report again, as the same or
as another mail, changes nothing more. What names no attempted message of ours is quarantined and changes nothing. Of a
person who was erased since, the report's words are kept nowhere: they have the address in them.
Fails: ``TemporaryFailure`` while the row is claimed (its outcome is on the way) or Postgres is away; ``PoisonMessage``
for what is no event.
"""

import asyncio
import hashlib
from datetime import datetime
from typing import Any, Final

from opentelemetry.trace import Span

from hayabin.broker import Delivery
from hayabin.contracts.event_pb2 import BounceEvent
from hayabin.crash_points import CrashPoint, reach
from hayabin.database import ledger
from hayabin.database.engine import Connection, Pool
from hayabin.database.erasing import is_anonymous
from hayabin.database.unsubscribing import Hand, Scope, stop
from hayabin.domain.bounce_reason import classify_status
from hayabin.domain.consent import ConsentBasis
from hayabin.domain.errors import TemporaryFailure
from hayabin.domain.message import MessageState
from hayabin.domain.suppression import SuppressionReason
from hayabin.domain.token import TokenRing
from hayabin.domain.verp import looks_like_unsubscribe_address
from hayabin.telemetry import tracing
from hayabin.telemetry.logging import get_logger
from hayabin.telemetry.metrics import INBOUND
from services.bounce.away import database_may_be_away
from services.bounce.by_mail import Refused, RefusedReason, unsubscribe_claim
from services.bounce.effects import ReportEvent, note, suppress
from services.bounce.facts import BIGINT_MAX, events_of
from services.bounce.inbound import parse_inbound
from services.bounce.match import BounceFact, FactKind, Unmatched, UnmatchedReason, match
from services.bounce.quarantine import keep, storable

DETAIL_MAX_CHARS: Final = 500
UNSUBSCRIBE: Final = "unsubscribe"
"""Somebody asked by mail to be taken off."""
_BY_MAIL: Final = Hand(ConsentBasis.WRITTEN)
UNKNOWN_MESSAGE: Final = "unknown_message"
"""Our signature, and no such row: another installation's, or a ledger restored from before."""
NEVER_ATTEMPTED: Final = "never_attempted"
"""Our signature, for an attempt that the ledger does not know of."""

_UNDERSTOOD: Final = frozenset(
    {
        UnmatchedReason.AUTO_REPLY,
        UnmatchedReason.DELAYED,
        UnmatchedReason.NOT_A_FAILURE,
        UnmatchedReason.NOT_A_COMPLAINT,
    }
)
"""Counted and not kept: there is nothing to look into, and out-of-office notes would push out what is worth a look."""

_NOTHING_TO_LOOK_INTO: Final = frozenset({RefusedReason.AUTOMATIC, RefusedReason.UNKNOWN_PERSON})
"""The same for mails to an unsubscribe address; whoever was erased must not be known again by their mail."""

_ROW_SQL = """
SELECT m.id, m.tenant_id, m.campaign_id, m.address_key, m.state, m.attempt,
       COALESCE((SELECT c.traceparent FROM campaigns c WHERE c.id = m.campaign_id), '') AS traceparent
FROM messages m WHERE m.id = $1 FOR UPDATE OF m"""


class Reports:
    """Consumes ``events.bounce``."""

    def __init__(self, pool: Pool, ring: TokenRing) -> None:
        """Write by ``pool``; signatures are checked by ``ring``."""
        self._pool = pool
        self._ring = ring

    async def handle(self, delivery: Delivery) -> None:
        """Project one batch, which is one mail as a rule."""
        with tracing.tracer().start_as_current_span(
            "bounce.project", context=tracing.extract(delivery.headers)
        ) as span:
            for event, received_at in list(events_of(delivery.body, "bounce")):
                await self._project(event.bounce, received_at, span)

    async def _project(self, mail: BounceEvent, received_at: datetime, span: Span) -> None:
        if looks_like_unsubscribe_address(mail.rcpt_to):
            kind, written = await self._unsubscribe(mail, received_at, span), True
        else:
            kind, written = await self._report(mail, received_at, span)
        if written:
            reach(CrashPoint.BOUNCE_PROJECTED)
        INBOUND.labels(kind).inc()

    async def _report(self, mail: BounceEvent, received_at: datetime, span: Span) -> tuple[str, bool]:
        """Take a report; what kind it is, and whether anything was written."""
        parsed = await asyncio.to_thread(parse_inbound, mail.content)  # up to a megabyte: the loop has others to serve
        found = match(parsed, mail.rcpt_to, self._ring)
        kind = found.reason.value if isinstance(found, Unmatched) else found.kind.value
        written = isinstance(found, BounceFact) or found.reason not in _UNDERSTOOD
        if written:
            with database_may_be_away():
                async with self._pool.acquire() as connection, connection.transaction():
                    await self._write(connection, found, mail, received_at, span)
        return kind, written

    async def _unsubscribe(self, mail: BounceEvent, received_at: datetime, span: Span) -> str:
        """Take off whoever asks for it by mail (see ``by_mail``); what came of it."""
        kind = UNSUBSCRIBE
        with database_may_be_away():
            async with self._pool.acquire() as connection, connection.transaction():
                try:
                    claim = await asyncio.to_thread(
                        unsubscribe_claim, mail.content, mail.mail_from, mail.rcpt_to, self._ring
                    )
                    if not await stop(connection, claim, Scope.LIST, received_at, _BY_MAIL):
                        raise Refused(RefusedReason.UNKNOWN_PERSON)  # noqa: TRY301 - one end for all of them
                    span.set_attribute("hayabin.message_id", claim.message_id)
                    get_logger().info("unsubscribed", message_id=claim.message_id, by="mail")
                except Refused as refusal:
                    kind = refusal.reason.value
                    if refusal.reason not in _NOTHING_TO_LOOK_INTO:
                        await keep(connection, mail, received_at, kind)
        return kind

    async def _write(
        self,
        connection: Connection,
        found: BounceFact | Unmatched,
        mail: BounceEvent,
        received_at: datetime,
        span: Span,
    ) -> None:
        if isinstance(found, Unmatched):
            await keep(connection, mail, received_at, found.reason.value)
            return
        row = None
        if found.message_id <= BIGINT_MAX:
            row = await connection.fetchrow(_ROW_SQL, found.message_id)
        if row is None:
            await keep(connection, mail, received_at, UNKNOWN_MESSAGE)
            return
        if row["state"] == MessageState.CLAIMED:
            raise TemporaryFailure("attempt_under_way", f"message {row['id']}")
        if max(found.attempt or 1, 1) > row["attempt"]:
            if not is_anonymous(row["address_key"]):
                await keep(connection, mail, received_at, NEVER_ATTEMPTED)
            return
        for link in tracing.link_of(row["traceparent"]):
            span.add_link(link.context)
        span.set_attribute("hayabin.message_id", row["id"])
        await _apply(connection, row, found, received_at)


async def _apply(connection: Connection, row: Any, fact: BounceFact, received_at: datetime) -> None:
    """What a report that holds changes."""
    if fact.kind is FactKind.COMPLAINT:
        target, reason, to_suppress = MessageState.COMPLAINED, "complaint", True
    else:
        verdict = classify_status(fact.status, fact.diagnostic)
        target = MessageState.BOUNCED if verdict.permanent else MessageState.ACCEPTED
        reason, to_suppress = verdict.reason.value, verdict.suppress
    moved = await ledger.move(connection, [row["id"]], target, reason)
    name = f"{fact.kind} {row['id']} {fact.attempt} {target} {fact.status} {reason}"
    event_id = hashlib.blake2b(name.encode(), digest_size=16).digest()
    anonymous = is_anonymous(row["address_key"])  # nobody's any more, and suppressed
    words = "" if anonymous else " ".join(filter(None, (reason, fact.status, fact.diagnostic)))
    detail = storable(words, DETAIL_MAX_CHARS)
    fresh = await note(connection, ReportEvent(event_id, row, fact.kind.value, detail, received_at))
    if to_suppress and fresh and not anonymous:
        of = SuppressionReason.COMPLAINT if fact.kind is FactKind.COMPLAINT else SuppressionReason.HARD_BOUNCE
        await suppress(connection, row, of)
    get_logger().info(
        "report_projected",
        message_id=row["id"],
        campaign_id=row["campaign_id"],
        kind=fact.kind.value,
        reason=reason,
        moved=bool(moved),
        fresh=fresh,
    )
