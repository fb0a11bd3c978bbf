"""To be written."""

from fastapi import APIRouter

from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/campaigns/{campaign_id}", tags=["checks"], route_class=TransactionRoute)
