"""What the law wants shown in a campaign's mail, looked for before it is sent.

Promises: nothing is changed and nothing is refused here; what a launch does with findings is the tenant's setting
``legal_checks``. No finding is no legal advice. Fails: 404 for another tenant's campaign.
"""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from hayabin.database import audience_count
from hayabin.database.tenancy import as_services
from hayabin.domain.campaign import CampaignState, MessageClass
from services.api.access import Db, ReadCampaigns
from services.api.forms import Id
from services.api.legal_checks import Severity, audience_findings, findings
from services.api.routes.campaign_rows import require_campaign
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/campaigns/{campaign_id}", tags=["checks"], route_class=TransactionRoute)

NOTE = {
    "ja": "法的助言ではありません。指摘がないことは適法であることを意味しません。",
    "en": "Not legal advice. No finding does not mean that the mail is lawful.",
}


@router.get("/checks", operation_id="checkCampaign")
async def checks(db: Db, who: ReadCampaigns, campaign_id: Id) -> dict[str, Any]:
    """What a bulk mail has to show by law and does not, in Japanese and English, with what to do.

    Looked for: the sender's name, an address or URL for opting out, the statement that one can, a postal address, a
    contact for complaints; a verified sending domain; people in the audience without evidence of consent. `pointer`
    says where to mend it: `/template/html`, `/template/text`, `/campaign/…` or `/settings/…`.
    """
    campaign = await require_campaign(db, who, campaign_id)
    found = await findings(db, campaign)
    if campaign["class"] == MessageClass.BULK and campaign["state"] in (CampaignState.DRAFT, CampaignState.SCHEDULED):
        async with as_services(db):  # the statements name the tenant
            found += audience_findings(await audience_count.count(db, campaign, consent_required=True))
    return {
        "campaign_id": campaign_id,
        "errors": sum(finding.severity is Severity.ERROR for finding in found),
        "warnings": sum(finding.severity is Severity.WARNING for finding in found),
        "findings": [asdict(finding) for finding in found],
        "note": NOTE,
    }
