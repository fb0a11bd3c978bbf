"""To be written."""

from fastapi import APIRouter

from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/exports", tags=["exports"], route_class=TransactionRoute)
