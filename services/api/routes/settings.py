"""To be written."""

from fastapi import APIRouter

from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/settings", tags=["settings"], route_class=TransactionRoute)
