"""To be written."""

from fastapi import APIRouter

from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/forms", tags=["sign_up_forms"], route_class=TransactionRoute)
