"""A sign-up form, written straight into the database: for tests of the pages and of the scheduler's duty.

Promises: the same call gives the same rows but for their ids.
"""

import json
import secrets
from dataclasses import dataclass
from typing import Any

from hayabin.database.engine import Pool
from tests.support.seed import Seeded

WORDING = {
    "ja": {
        "title": "早便ショップのメール登録",
        "intro": "新商品とセールのお知らせを月に2回お送りします。",
        "consent": "「登録する」を押すと、早便ショップからの広告メールの受信に同意したものとします。\n配信はいつでも停止できます。",
        "button": "登録する",
        "thanks": "",
    },
    "en": {
        "title": "Mail from Hayabin Shop",
        "intro": "News and sales, twice a month.",
        "consent": "By pressing “Subscribe” you agree to advertisements by mail. You can stop them at any time.",
        "button": "Subscribe",
        "thanks": "",
    },
}
FIELDS = [
    {"name": "name", "label": {"ja": "お名前", "en": "Name"}, "required": True},
    {"name": "city", "label": {"ja": "お住まいの市区町村", "en": "City"}, "required": False},
]


@dataclass(frozen=True, slots=True)
class SeededForm:
    """Ids of what was written."""

    id: int
    public_id: str
    path: str


async def seed_form(pool: Pool, seeded: Seeded, *, list_ids: list[int] | None = None, **more: Any) -> SeededForm:
    """A form of the tenant's for its list, asking for name and city."""
    values: dict[str, Any] = {
        "double_opt_in": True,
        "fields": FIELDS,
        "wording": WORDING,
        "allowed_origins": [],
        "per_ip_per_hour": 1000,
        "per_address_per_day": 3,
        "per_form_per_hour": 1000,
        **more,
    }
    public_id = secrets.token_urlsafe(16)
    form_id = await pool.fetchval(
        "INSERT INTO sign_up_forms (tenant_id, public_id, name, list_ids, double_opt_in, fields, wording, domain_id, "
        "from_name, from_address, pool, allowed_origins, per_ip_per_hour, per_address_per_day, per_form_per_hour) "
        "VALUES ($1, $2, $3, $4, $5, $6::text::jsonb, $7::text::jsonb, $8, '早便ショップ', 'news@acme.example', 'main', $9, "
        "$10, $11, $12) RETURNING id",
        seeded.tenant_id,
        public_id,
        f"form {public_id}",
        list_ids or [seeded.list_id],
        values["double_opt_in"],
        json.dumps(values["fields"]),
        json.dumps(values["wording"]),
        seeded.domain_id,
        values["allowed_origins"],
        values["per_ip_per_hour"],
        values["per_address_per_day"],
        values["per_form_per_hour"],
    )
    await pool.execute(
        "INSERT INTO sign_up_form_versions (form_id, number, tenant_id, list_ids, double_opt_in, fields, wording) "
        "SELECT id, version, tenant_id, list_ids, double_opt_in, fields, wording FROM sign_up_forms WHERE id = $1",
        form_id,
    )
    return SeededForm(form_id, public_id, f"/f/{public_id}")
