"""Recipients whose mail cannot be made.

Promises: they are ``failed`` in the ledger with the reason before the chunk is acknowledged; under the policy ``block``
the campaign is paused with the field's name, once. Whoever is no longer due, such as a person whose data was erased
while the chunk waited, fails nothing and pauses nothing.
"""

from dataclasses import dataclass

from hayabin.database import ledger
from hayabin.database.engine import Pool
from hayabin.database.launch import change_state
from hayabin.domain.campaign import CampaignState, IllegalTransition, MergePolicy
from hayabin.domain.message import MessageState
from hayabin.telemetry.logging import get_logger
from hayabin.telemetry.metrics import RENDER_FAILED


@dataclass(frozen=True, slots=True)
class RenderFailure:
    """One recipient, and why; ``reason`` is snake_case and may name a field after a colon."""

    message_id: int
    reason: str
    detail: str


async def record_failures(
    pool: Pool, tenant_id: int, campaign_id: int, policy: MergePolicy, failures: list[RenderFailure]
) -> None:
    """Write the failures, and pause the campaign where its policy asks for that."""
    by_reason: dict[str, list[RenderFailure]] = {}
    missing = ""
    for failure in failures:
        by_reason.setdefault(failure.reason, []).append(failure)
    async with pool.acquire() as connection, connection.transaction():
        for reason, some in by_reason.items():
            ids = sorted(failure.message_id for failure in some)
            moved = await ledger.move(connection, ids, MessageState.FAILED, reason)
            RENDER_FAILED.labels(reason.partition(":")[0]).inc(len(moved))
            get_logger().warning("render_failed", campaign_id=campaign_id, reason=reason, rows=len(moved))
            if moved and reason.startswith("merge_field_missing"):
                missing = missing or reason
        if missing and policy is MergePolicy.BLOCK:
            try:
                async with connection.transaction():
                    await change_state(connection, campaign_id, tenant_id, CampaignState.PAUSED, missing)
            except IllegalTransition:
                get_logger().info("campaign_paused_already", campaign_id=campaign_id)
