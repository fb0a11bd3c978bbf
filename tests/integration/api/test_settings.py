"""Settings of a tenant: changed one by one, within bounds, back to the default."""

from dataclasses import asdict, fields

from hayabin.database.engine import Database
from hayabin.domain.tenant_settings import TenantSettings
from services.api.access import Scope
from services.api.routes.settings import SettingsForm
from tests.integration.api.conftest import MakeClient
from tests.integration.api.rest import Client, done, problem

PATH = "/v1/settings"


def test_settings_form_knows_every_setting_and_no_other() -> None:
    """What a release adds to the settings can be set."""
    assert set(SettingsForm.model_fields) == {field.name for field in fields(TenantSettings)}


async def test_settings_change_keeps_what_is_left_out_and_stores_only_what_was_set(
    client: Client, database: Database
) -> None:
    """Defaults are shown and not stored, so that a later release can change them; `null` goes back to them."""
    default = asdict(TenantSettings())
    assert await done(await client.get(PATH), 200) == {**default, "changed": []}
    first = await done(await client.patch(PATH, json={"approval_above": 100, "sender_name": "早便"}), 200)
    assert first == {
        **default,
        "approval_above": 100,
        "sender_name": "早便",
        "changed": ["approval_above", "sender_name"],
    }
    await done(await client.patch(PATH, json={"undo_s": 30, "expected_count_percent": 5}), 200)
    await done(await client.patch(PATH, json={"sender_name": None, "consent_policy": "required"}), 200)
    stored = await database.pool.fetchval("SELECT settings FROM tenants WHERE slug = 'acme'")
    assert stored == {"approval_above": 100, "undo_s": 30, "expected_count_percent": 5, "consent_policy": "required"}
    now = await done(await client.get(PATH), 200)
    assert (now["sender_name"], now["approval_above"], now["undo_s"]) == ("", 100, 30)
    assert await done(await client.patch(PATH, json={}), 200) == now


WRONG: tuple[tuple[dict[str, object], str], ...] = (
    ({"approval_over": 3}, "#/approval_over"),
    ({"approval_above": -2}, "#/approval_above"),
    ({"approval_above": "100"}, "#/approval_above"),
    ({"frequency_cap_days": 0}, "#/frequency_cap_days"),
    ({"undo_s": 3601}, "#/undo_s"),
    ({"undo_s": True}, "#/undo_s"),
    ({"expected_count_percent": 100.5}, "#/expected_count_percent"),
    ({"expected_count_percent": True}, "#/expected_count_percent"),
    ({"legal_checks": "maybe"}, "#/legal_checks"),
    ({"sender_name": "a\nb"}, "#/sender_name"),
    ({"quota_per_day": -1}, "#/quota_per_day"),
    ({"approval_above": 100, "two_approvals_above": 99}, "#/two_approvals_above"),
)


async def test_settings_out_of_bounds_are_refused_and_nothing_is_changed(client: Client, database: Database) -> None:
    """The problem names the setting; what stood beside it is not stored either."""
    for wrong, pointer in WRONG:
        body = problem(await client.patch(PATH, json={"contact": "x", **wrong}), 422, "invalid-request")
        assert pointer in {error["pointer"] for error in body["errors"]}, body
        assert await database.pool.fetchval("SELECT settings FROM tenants WHERE slug = 'acme'") == {}, wrong


async def test_change_of_settings_is_in_the_audit_log_with_its_values(client: Client) -> None:
    """Who switched the checks off is known; free text, which may name a person, is not repeated there."""
    form = {"legal_checks": "off", "quota_per_day": 5, "contact": "Hanako, 03-1234-5678", "undo_s": None}
    await done(await client.patch(PATH, json=form), 200)
    line = (await done(await client.get("/v1/audit?action=changeSettings"), 200))["items"][0]
    assert line["detail"]["changed"] == {"legal_checks": "off", "quota_per_day": 5}
    assert line["detail"]["reset"] == ["undo_s"]
    assert line["detail"]["fields"] == ["contact", "legal_checks", "quota_per_day", "undo_s"]
    assert "Hanako" not in str(line)


async def test_settings_are_written_by_the_tenants_admin_alone(make_client: MakeClient, client: Client) -> None:
    """Who sends campaigns may read them; another tenant's stay as they are."""
    await done(await client.patch(PATH, json={"undo_s": 7}), 200)
    sender = await make_client("acme", Scope.CAMPAIGNS_READ, Scope.CAMPAIGNS_SEND, Scope.CAMPAIGNS_WRITE)
    assert (await done(await sender.get(PATH), 200))["undo_s"] == 7
    problem(await sender.patch(PATH, json={"undo_s": 0}), 403, "missing-scope")
    stranger = await make_client("stranger")
    assert (await done(await stranger.get(PATH), 200))["changed"] == []
