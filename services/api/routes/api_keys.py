"""To be written."""

from fastapi import APIRouter

from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/api-keys", tags=["api_keys"], route_class=TransactionRoute)
