"""What a parked message says, for an operator's eyes.

Promises: no mail, no address in the clear (``address_hash`` stands for one) and nothing else that a person typed.
Fails: nothing raises; what cannot be decoded says why, with the first bytes.
"""

import re
from typing import Any

from hayabin.broker import Parked
from hayabin.contracts.codec import decode
from hayabin.contracts.dispatch_pb2 import MailBatch
from hayabin.contracts.event_pb2 import EngagementKind, Event, EventBatch
from hayabin.contracts.render_pb2 import RenderChunk
from hayabin.domain.errors import PoisonMessage
from hayabin.telemetry.logging import address_hash

HEAD_BYTES = 32
_ADDRESS = re.compile(r"[^\s<>()\[\]\"',;:=]+@[^\s<>()\[\]\"',;:=]+")


def without_addresses(text: str) -> str:
    """The text with the hash of each address in its place."""
    return _ADDRESS.sub(lambda found: f"<address {address_hash(found[0])}>", text)


def readable(parked: Parked) -> dict[str, Any]:
    """The body as plain values, by the kind of message that its queue carries."""
    family = parked.queue.partition(".")[0]
    try:
        match family:
            case "render":
                return _chunk(decode(RenderChunk, parked.body))
            case "dispatch":
                return _batch(decode(MailBatch, parked.body))
            case "events":
                return {"kind": "EventBatch", "events": [_event(e) for e in decode(EventBatch, parked.body).events]}
            case _:
                return _undecodable(parked.body, "its queue is none of ours")
    except PoisonMessage as failure:
        return _undecodable(parked.body, str(failure))


def _undecodable(body: bytes, why: str) -> dict[str, Any]:
    return {"kind": "undecodable", "why": without_addresses(why), "head": body[:HEAD_BYTES].hex(" ")}


def _chunk(chunk: RenderChunk) -> dict[str, Any]:
    return {
        "kind": "RenderChunk",
        "tenant_id": chunk.tenant_id,
        "campaign_id": chunk.campaign_id,
        "attempt": chunk.attempt,
        "message_ids": list(chunk.message_ids),
        "lease_expires_ms": chunk.lease_expires_ms,
        "launched_ms": chunk.launched_ms,
    }


def _batch(batch: MailBatch) -> dict[str, Any]:
    mails = [
        {
            "message_id": mail.message_id,
            "return_path_hash": address_hash(mail.return_path),
            "recipient_hash": address_hash(mail.recipient),
            "content_size_bytes": len(mail.content),
        }
        for mail in batch.mails
    ]
    return {
        "kind": "MailBatch",
        "tenant_id": batch.tenant_id,
        "campaign_id": batch.campaign_id,
        "attempt": batch.attempt,
        "pool": batch.pool,
        "lane": batch.lane,
        "lease_expires_ms": batch.lease_expires_ms,
        "launched_ms": batch.launched_ms,
        "mails": mails,
    }


def _event(event: Event) -> dict[str, Any]:
    shown: dict[str, Any] = {"event_id": event.event_id.hex(), "occurred_ms": event.occurred_ms}
    match event.WhichOneof("fact"):
        case "delivery":
            fact = event.delivery
            shown["delivery"] = {
                "tenant_id": fact.tenant_id,
                "campaign_id": fact.campaign_id,
                "message_id": fact.message_id,
                "attempt": fact.attempt,
                "state": without_addresses(fact.state),
                "reason": without_addresses(fact.reason),
                "suppress": fact.suppress,
            }
        case "engagement":
            kind = event.engagement.kind
            shown["engagement"] = {
                "message_id": event.engagement.message_id,
                "kind": EngagementKind.Name(kind) if kind in EngagementKind.values() else int(kind),
                "link": event.engagement.link,
                "user_agent_size_bytes": len(event.engagement.user_agent.encode()),
            }
        case "bounce":
            shown["bounce"] = {
                "mail_from_hash": address_hash(event.bounce.mail_from),
                "rcpt_to_hash": address_hash(event.bounce.rcpt_to),
                "remote_address_hash": address_hash(event.bounce.remote_address),
                "content_size_bytes": len(event.bounce.content),
            }
        case _:
            shown["fact"] = None
    return shown
