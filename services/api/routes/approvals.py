"""Approvals of a campaign: given, withdrawn, looked at."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from hayabin.domain.campaign import CampaignState
from services.api import approving
from services.api.access import ApproveCampaigns, Db, Principal, ReadCampaigns
from services.api.audience_size import size_in_request
from services.api.forms import Form, Id
from services.api.launch_checks import Subject, subject_of
from services.api.problems import Problem, not_found
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/campaigns/{campaign_id}", tags=["approvals"], route_class=TransactionRoute)
_BEFORE = frozenset({CampaignState.DRAFT, CampaignState.SCHEDULED})
_MAX_SHOWN = 200

_APPROVE_SQL = """
INSERT INTO approvals (tenant_id, campaign_id, hash, approver, key_id, user_id) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING"""

_WITHDRAW_SQL = """
UPDATE approvals SET withdrawn_at = now() WHERE tenant_id = $1 AND campaign_id = $2 AND approver = $3
  AND withdrawn_at IS NULL RETURNING id"""

_LIST_SQL = """
SELECT id, hash, key_id, user_id, approved_at, withdrawn_at FROM approvals WHERE tenant_id = $1 AND campaign_id = $2
ORDER BY id DESC LIMIT $3"""


class ApprovalForm(Form):
    """What was looked at."""

    hash: Annotated[
        str, Field(pattern="^[0-9a-f]{64}$", description="`hash` of GET …/approvals, read with what you looked at")
    ]


@router.post("/approve", operation_id="approveCampaign")
async def approve(db: Db, who: ApproveCampaigns, campaign_id: Id, form: ApprovalForm) -> dict[str, Any]:
    """Approve the campaign as it is; whatever is edited afterwards voids the approval.

    The hash covers content, sender, audience definition and the rules of its segments. Who edited the campaign last may
    approve it too, but never alone. Where two people are needed, both approve with personal keys.
    """
    subject = await _before_launch(db, who, campaign_id)
    current = await approving.hash_of(db, subject.campaign)
    if current.hex() != form.hash:
        raise Problem(
            409,
            "content-changed",
            "The campaign was edited since you looked at it. Look at it again, then approve the new hash.",
            members={"hash": current.hex()},
        )
    audience = await _audience(db, subject)
    if not approving.counts(approving.needed_for(subject.settings, audience or 0), who.user_id):
        raise Problem(
            403,
            "personal-key-needed",
            f"The audience of {audience} needs the approval of two people, and this API key belongs to no user. "
            "Approve with a personal key: POST /v1/api-keys with `user_id`.",
        )
    approver = approving.approver_of(who.key_id, who.user_id)
    await db.execute(_APPROVE_SQL, who.tenant_id, campaign_id, current, approver, who.key_id, who.user_id)
    return await _shown(db, subject, audience)


@router.delete("/approve", operation_id="withdrawApproval")
async def withdraw(db: Db, who: ApproveCampaigns, campaign_id: Id) -> dict[str, Any]:
    """Take back your own approvals of a campaign that was not launched yet."""
    subject = await _before_launch(db, who, campaign_id)
    approver = approving.approver_of(who.key_id, who.user_id)
    if not await db.fetch(_WITHDRAW_SQL, who.tenant_id, campaign_id, approver):
        raise not_found("approval of yours")
    return await _shown(db, subject, await _audience(db, subject))


@router.get("/approvals", operation_id="listApprovals")
async def listed(db: Db, who: ReadCampaigns, campaign_id: Id) -> dict[str, Any]:
    """What stands to be approved (`hash`), how many people have to, and every approval: valid, or void and why."""
    subject = await subject_of(db, who.tenant_id, campaign_id)
    return await _shown(db, subject, await _audience(db, subject))


async def _before_launch(db: Db, who: Principal, campaign_id: int) -> Subject:
    """Nobody edits the campaign until the transaction ends.

    Raises:
        Problem: 404, 409.
    """
    subject = await subject_of(db, who.tenant_id, campaign_id, lock=True)
    state = CampaignState(subject.campaign["state"])
    if state not in _BEFORE or subject.campaign["kind"] != "campaign":
        raise Problem(409, "wrong-state", f"The campaign is {state}: approvals are of drafts and schedules.")
    return subject


async def _audience(db: Db, subject: Subject) -> int | None:
    """How large it is, where approvals depend on it."""
    asks = approving.asks_for_audience(subject.settings)
    return (await size_in_request(db, subject.campaign)).audience if asks else None


async def _shown(db: Db, subject: Subject, audience: int | None) -> dict[str, Any]:
    campaign = subject.campaign
    standing = await approving.standing_of(db, campaign, subject.settings, audience)
    rows = await db.fetch(_LIST_SQL, campaign["tenant_id"], campaign["id"], _MAX_SHOWN)
    return {
        "campaign_id": campaign["id"],
        "hash": standing.hash.hex(),
        "audience": standing.audience,
        "needed": standing.needed,
        "missing": standing.missing,
        "says": standing.says if standing.missing else "",
        "edited_by": {"key_id": campaign["edited_by_key"], "user_id": campaign["edited_by_user"]},
        "approvals": [_approval(row, standing) for row in rows],
    }


def _approval(row: Any, standing: approving.Standing) -> dict[str, Any]:
    void = (
        "withdrawn" if row["withdrawn_at"] is not None
        else "edited" if row["hash"] != standing.hash
        else "no_person" if not approving.counts(standing.needed, row["user_id"])
        else None
    )  # fmt: skip
    return {
        "hash": row["hash"].hex(),
        "key_id": row["key_id"],
        "user_id": row["user_id"],
        "approved_at": row["approved_at"],
        "valid": void is None,
        "void_because": void,
    }
