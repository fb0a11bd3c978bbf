"""The renderer's work: a chunk of ledger ids in, batches of signed mail out.

Promises: a chunk is acknowledged when each of its mails is confirmed on the dispatch belt or failed in the ledger with
its reason; the event loop goes on while a chunk is rendered (a thread for each queue, so that none waits for another);
the same chunk gives the same mails but for the date.
Fails: ``PoisonMessage`` for what cannot be decoded or names no campaign (parked); ``PublishFailed`` puts the chunk
back, and the gate makes doubles harmless.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from hayabin.broker import Broker, Delivery, Outgoing
from hayabin.broker.topology import DISPATCH, belt_of, pool_queues
from hayabin.content.render import MergeFieldMissing, SystemVariables
from hayabin.contracts.codec import decode, encode_batch
from hayabin.contracts.dispatch_pb2 import Mail, MailBatch
from hayabin.contracts.render_pb2 import RenderChunk
from hayabin.crash_points import CrashPoint, reach
from hayabin.database.clock import DatabaseClock
from hayabin.database.engine import Pool
from hayabin.domain.campaign import MessageClass, RenderBelt
from hayabin.domain.errors import PermanentFailure
from hayabin.domain.lane import lane_of
from hayabin.domain.token import TokenRing, UnsubscribeClaim, spell_token
from hayabin.domain.verp import issue_message_id, issue_return_path, unsubscribe_address
from hayabin.telemetry import tracing
from hayabin.telemetry.metrics import RENDER_SECONDS, RENDERED
from services.renderer.campaigns import Campaign, Campaigns
from services.renderer.failures import RenderFailure, record_failures
from services.renderer.mime import MailParts
from services.renderer.providers import KnownProviders
from services.renderer.right_of_way import RightOfWay

_ROWS_SQL = "SELECT message_id, contact_id, wire, name, variables FROM recipients WHERE message_id = ANY($1)"


@dataclass(frozen=True, slots=True)
class Names:
    """What stands in every mail of this installation."""

    public_url: str
    return_path_domain: str
    batch_mails: int


@dataclass(slots=True)
class Rendered:
    """What became of a chunk."""

    outgoing: list[Outgoing] = field(default_factory=list)
    failures: list[RenderFailure] = field(default_factory=list)
    mails: int = 0


@dataclass(slots=True)
class OpenBatch:
    """A batch that is being filled: its head, and envelopes with their contents."""

    head: MailBatch
    mails: list[tuple[Mail, bytes]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Worker:
    """See the module."""

    pool: Pool
    broker: Broker
    campaigns: Campaigns
    providers: KnownProviders
    ring: TokenRing
    names: Names
    clock: DatabaseClock = field(default_factory=DatabaseClock)
    declared: set[str] = field(default_factory=set)
    threads: dict[RenderBelt, ThreadPoolExecutor] = field(default_factory=dict)
    right_of_way: RightOfWay = field(default_factory=RightOfWay)

    async def handle(self, delivery: Delivery) -> None:
        """Render a chunk and publish its batches; see the module for what it raises."""
        chunk = decode(RenderChunk, delivery.body)
        if chunk.lease_expires_ms < self.clock.now_s() * 1000:
            return  # its rows were, or will be, fed again
        reach(CrashPoint.RENDER_RECEIVED)
        campaign = await self.campaigns.get(chunk.campaign_id)
        if campaign.pool not in self.declared:  # a pool may be younger than this process
            await self.broker.declare(pool_queues(campaign.pool))
            self.declared.add(campaign.pool)
        attributes: dict[str, str | int] = {
            "hayabin.campaign_id": chunk.campaign_id,
            "hayabin.attempt": chunk.attempt + 1,
            "messaging.batch.message_count": len(chunk.message_ids),
        }
        with tracing.tracer().start_as_current_span(
            "render.chunk", context=tracing.extract(delivery.headers), attributes=attributes
        ):
            rows = await self.pool.fetch(_ROWS_SQL, list(chunk.message_ids))
            known = await self.providers.current()
            headers = tracing.inject({})
            belt = belt_of(delivery.queue)
            work = ChunkWork(self, chunk, campaign, known, headers, belt)
            loop = asyncio.get_running_loop()
            with RENDER_SECONDS.time():
                rendered = await loop.run_in_executor(self._thread(belt), work.run, rows)
            reach(CrashPoint.RENDER_RENDERED)
            if rendered.failures:
                await record_failures(self.pool, campaign.tenant_id, campaign.id, campaign.policy, rendered.failures)
            await self.broker.publish(rendered.outgoing)
            reach(CrashPoint.RENDER_PUBLISHED)
        RENDERED.inc(rendered.mails)

    def _thread(self, belt: RenderBelt) -> ThreadPoolExecutor:
        if belt not in self.threads:
            self.threads[belt] = ThreadPoolExecutor(1, f"render-{belt}")
        return self.threads[belt]

    def shut_down(self) -> None:
        """End the threads; what is being rendered is not waited for."""
        for thread in self.threads.values():
            thread.shutdown(wait=False, cancel_futures=True)


@dataclass(slots=True)
class ChunkWork:
    """Rendering one chunk, in the thread."""

    worker: Worker
    chunk: RenderChunk
    campaign: Campaign
    known: Mapping[str, str]
    headers: dict[str, str]
    belt: RenderBelt
    open_batches: dict[str, OpenBatch] = field(default_factory=dict)
    done: Rendered = field(default_factory=Rendered)

    def run(self, rows: Sequence[Any]) -> Rendered:
        """Render every row and close the last batches."""
        with self.worker.right_of_way.work(self.belt):
            self._run(rows)
        return self.done

    def _run(self, rows: Sequence[Any]) -> None:
        date = datetime.now(UTC)
        for row in rows:
            self.worker.right_of_way.step_aside(self.belt)
            try:
                content = self._content(row, date)
            except MergeFieldMissing as error:
                self._fail(row, f"merge_field_missing:{error.field}"[:100], error.detail)
            except PermanentFailure as error:
                self._fail(row, error.reason, error.detail)
            else:
                self._add(row, content)
        for lane in list(self.open_batches):
            self._close(lane)

    def _fail(self, row: Any, reason: str, detail: str) -> None:
        self.done.failures.append(RenderFailure(row["message_id"], reason, detail))

    def _content(self, row: Any, date: datetime) -> bytes:
        names, ring, campaign = self.worker.names, self.worker.ring, self.campaign
        message_id: int = row["message_id"]
        tracking = ring.issue_tracking(message_id)
        claim = UnsubscribeClaim(campaign.tenant_id, campaign.list_id, row["contact_id"], message_id)
        sealed = ring.seal_unsubscribe(claim)
        token = spell_token(sealed)
        unsubscribe_url = f"{names.public_url}/u/{token}"
        system = SystemVariables(
            track_url=f"{names.public_url}/c/{tracking}",
            open_url=f"{names.public_url}/o/{tracking}",
            unsubscribe_url=unsubscribe_url,
            link_mac=lambda link, url: ring.link_mac(message_id, link, url),
            preferences_url=f"{names.public_url}/p/{token}",
            confirm_url=f"{names.public_url}/s/{ring.issue_confirm(message_id, row['wire'])}"
            if campaign.asks_to_confirm
            else None,
        )
        content = campaign.renderer().render(orjson.loads(row["variables"]), system, campaign.policy)
        parts = MailParts(
            to_name=row["name"],
            to_address=row["wire"],
            subject=content.subject,
            text=content.text,
            html=content.html,
            message_id=issue_message_id(message_id, ring, campaign.domain),
            unsubscribe_url=unsubscribe_url,
            unsubscribe_address=unsubscribe_address(sealed, names.return_path_domain),
        )
        return campaign.writer.write(parts, date)

    def _add(self, row: Any, content: bytes) -> None:
        message_id, recipient = row["message_id"], row["wire"]
        names, attempt = self.worker.names, self.chunk.attempt
        domain = recipient.rpartition("@")[2]
        kind = "bulk" if self.campaign.message_class == MessageClass.BULK else "transactional"
        lane = lane_of(domain, kind, self.known.get(domain))  # type: ignore[arg-type]
        batch = self.open_batches.get(lane)
        if batch is None:
            batch = self.open_batches[lane] = OpenBatch(self._head(lane))
        return_path = issue_return_path(message_id, attempt + 1, self.worker.ring, names.return_path_domain)
        envelope = Mail(message_id=message_id, return_path=return_path, recipient=recipient)
        batch.mails.append((envelope, content))
        if len(batch.mails) >= names.batch_mails:
            self._close(lane)

    def _head(self, lane: str) -> MailBatch:
        return MailBatch(
            tenant_id=self.campaign.tenant_id,
            campaign_id=self.campaign.id,
            attempt=self.chunk.attempt,
            pool=self.campaign.pool,
            lane=lane,
            lease_expires_ms=self.chunk.lease_expires_ms,
            launched_ms=self.chunk.launched_ms,
        )

    def _close(self, lane: str) -> None:
        batch = self.open_batches.pop(lane)
        self.done.mails += len(batch.mails)
        body = encode_batch(batch.head, batch.mails)
        self.done.outgoing.append(Outgoing(DISPATCH, f"{self.campaign.pool}.{lane}", body, self.headers))
