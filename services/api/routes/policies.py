"""Policies: how each provider is sent to; single keys over what is shipped and over the dispatchers' own files."""

from typing import Annotated, Any, Final

from fastapi import APIRouter
from pydantic import AfterValidator, WithJsonSchema

from hayabin.domain.lane import PROVIDERS
from hayabin.domain.policy import DEFAULT, TlsMode, merge, read_settings
from services.api.access import Db, PlatformAdmin, ReadCampaigns
from services.api.forms import plain
from services.api.lane_targets import policy_of, refused
from services.api.policy_schema import POLICY_SCHEMA
from services.api.problems import not_found
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/policies", tags=["policies"], route_class=TransactionRoute)
Settings = Annotated[dict[str, Any], AfterValidator(plain), WithJsonSchema(POLICY_SCHEMA)]
_UNKNOWN_KEY = "unknown key: "
_STAND_IN: Final = {
    "connections": 1, "messages_per_connection": 1, "connect_timeout_s": 1.0, "tls": TlsMode.NONE,
    "retry_delays_s": (1,),
}  # fmt: skip
"""The keys that every shipped file has; only the dispatchers have the files."""


def _require_readable(provider: str, settings: dict[str, Any]) -> None:
    """Pass silently where the dispatchers will read the settings as they are meant.

    Raises:
        Problem: 422 with the key's place.
    """
    try:
        read = read_settings(settings)
    except ValueError as error:
        key, _, rest = str(error).partition(": ")
        if str(error).startswith(_UNKNOWN_KEY):
            key, rest = str(error).removeprefix(_UNKNOWN_KEY), "there is no such key"
        pointer = "#/" + key.replace("~", "~0").replace("/", "~1")
        raise refused(pointer.encode(errors="replace").decode()[:300], rest) from error
    try:
        merge(provider, _STAND_IN, read)
    except ValueError as error:
        raise refused("#", str(error)) from error


async def _shown(db: Db, names: tuple[str, ...]) -> list[dict[str, Any]]:
    stored = await db.fetch(
        "SELECT provider, settings, updated_at FROM provider_policies WHERE provider = ANY($1)", list(names)
    )
    reported = await db.fetch(
        "SELECT provider, pool, settings, reported_at FROM effective_policies WHERE provider = ANY($1) ORDER BY pool",
        list(names),
    )
    overrides = {row["provider"]: row for row in stored}
    return [
        {
            "provider": name,
            "overrides": overrides[name]["settings"] if name in overrides else {},
            "updated_at": overrides[name]["updated_at"] if name in overrides else None,
            "effective": [
                {"pool": row["pool"], "settings": row["settings"], "reported_at": row["reported_at"]}
                for row in reported
                if row["provider"] == name
            ],
        }
        for name in names
    ]


@router.get("", operation_id="listPolicies")
async def listed(db: Db, _who: ReadCampaigns) -> dict[str, Any]:
    """Every provider's policy: what was overridden here, and what the dispatchers of each pool go by (`effective`).

    `default` is the policy of each destination of no provider, counted one by one.
    """
    return {"items": await _shown(db, (*PROVIDERS, DEFAULT)), "next_cursor": None}


@router.get("/{provider}", operation_id="getPolicy")
async def get(db: Db, _who: ReadCampaigns, provider: str) -> dict[str, Any]:
    """One provider's policy."""
    return (await _shown(db, (policy_of(provider),)))[0]


@router.put("/{provider}", operation_id="overridePolicy")
async def put(db: Db, _who: PlatformAdmin, provider: str, settings: Settings) -> dict[str, Any]:
    """Replace the overrides of a provider by these; what is left out is as shipped, or as the dispatchers' files say.

    The dispatchers take it over within 2 seconds, without a restart; connections that are open go on. `effective` shows
    what each pool makes of it then.
    """
    name = policy_of(provider)
    _require_readable(name, settings)
    await db.execute(
        "INSERT INTO provider_policies (provider, settings) VALUES ($1, $2) "
        "ON CONFLICT (provider) DO UPDATE SET settings = excluded.settings, updated_at = now()",
        name,
        settings,
    )
    return (await _shown(db, (name,)))[0]


@router.delete("/{provider}", status_code=204, operation_id="resetPolicy")
async def delete(db: Db, _who: PlatformAdmin, provider: str) -> None:
    """Take the overrides of a provider away: the policy is as shipped, or as the dispatchers' files say."""
    name = policy_of(provider)
    if not await db.fetchval("DELETE FROM provider_policies WHERE provider = $1 RETURNING provider", name):
        raise not_found("override")
