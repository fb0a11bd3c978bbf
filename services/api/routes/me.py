"""Who calls: what a key is, and what it may do here and now."""

from typing import Any

from fastapi import APIRouter

from services.api.access import Anybody, Db
from services.api.key_rows import find
from services.api.routes.users import require_user
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/me", tags=["me"], route_class=TransactionRoute)
_KEY = ("id", "name", "prefix", "cidrs", "expires_at")
_USER = ("id", "email", "name", "role")


@router.get("", operation_id="getMe")
async def get(db: Db, who: Anybody) -> dict[str, Any]:
    """The tenant, the key, its user if it is a person's, and the scopes that hold at this moment. Needs no scope."""
    tenant = await db.fetchrow("SELECT id, slug, name FROM tenants WHERE id = $1", who.tenant_id)
    key = await find(db, who.tenant_id, who.key_id) or {}
    user = None if who.user_id is None else await require_user(db, who.tenant_id, who.user_id)
    return {
        "tenant": dict(tenant or {}),
        "key": {name: key.get(name) for name in _KEY},
        "user": None if user is None else {name: user[name] for name in _USER},
        "scopes": sorted(who.scopes),
    }
