"""The legal checks of a campaign over REST: what a mail lacks is named, in Japanese and English."""

from typing import Any

import pytest

from hayabin.database.engine import Database
from tests.integration.api.conftest import MakeClient
from tests.integration.api.rest import Client, a_campaign, a_template, done, problem

BAD = "<mjml><mj-body><mj-section><mj-column><mj-text>セール!</mj-text></mj-column></mj-section></mj-body></mjml>"
GOOD = BAD.replace(
    "セール!",
    "セール! 発行: サンプル商事株式会社 〒100-0001 東京都千代田区千代田1-1 お問い合わせ: 03-1234-5678 "
    '<a href="{{ unsubscribe_url }}">配信停止はこちら</a>',
)
ITEMS = {"sender_name", "opt_out_place", "opt_out_statement", "postal_address", "contact"}


async def checked(client: Client, source: str, **more: Any) -> dict[str, Any]:
    """The findings of a campaign whose template has that source."""
    draft = await a_campaign(client, people=1, from_name="サンプル商事株式会社", **more)
    template = await a_template(client, "checked", source)
    form = {"template_version_id": template["version"]["id"]}
    await done(await client.patch(f"/v1/campaigns/{draft['id']}", json=form), 200)
    answer: dict[str, Any] = await done(await client.get(f"/v1/campaigns/{draft['id']}/checks"), 200)
    assert answer["errors"] == sum(found["severity"] == "error" for found in answer["findings"])
    return answer


def codes(answer: dict[str, Any]) -> set[str]:
    """The codes of the findings."""
    return {found["code"] for found in answer["findings"]}


async def test_bad_mail_is_told_all_five_items(client: Client) -> None:
    """Each item of the law once for each part, as errors, with a sentence in both languages and a place."""
    answer = await checked(client, BAD)
    assert {f"{item}_missing" for item in ITEMS} <= codes(answer)
    assert answer["errors"] == 10
    for found in answer["findings"]:
        assert found["message_ja"].endswith("。")
        assert found["message_en"].endswith(".")
        assert found["pointer"].startswith(("/template/", "/campaign/", "/settings/"))
    assert "法的助言" in answer["note"]["ja"]


async def test_good_mail_has_no_errors(client: Client, database: Database) -> None:
    """What is left are warnings: of the settings, the domain, and a member without evidence of consent."""
    answer = await checked(client, GOOD)
    assert answer["errors"] == 0, answer
    assert {"sender_name_not_set", "unverified_domain"} <= codes(answer)
    await database.pool.execute("UPDATE domains SET verified_at = now()")
    await database.pool.execute("""UPDATE tenants SET settings = '{"sender_name": "サンプル商事株式会社"}'""")
    draft = answer["campaign_id"]
    again = await done(await client.get(f"/v1/campaigns/{draft}/checks"), 200)
    assert codes(again) <= {"members_without_consent"}


async def test_settings_of_the_tenant_are_what_is_looked_for(client: Client, database: Database) -> None:
    """A name that is set has to be in the mail; an address that is set counts however unusual it is."""
    await database.pool.execute(
        """UPDATE tenants SET settings = '{"sender_name": "別会社", "postal_address": "駅前の角"}'"""
    )
    answer = await checked(client, GOOD.replace("〒100-0001 東京都千代田区千代田1-1", "駅前の角"))
    assert {found["code"] for found in answer["findings"] if found["severity"] == "error"} == {"sender_name_missing"}


@pytest.mark.parametrize("policy", ["recorded", "required"])
async def test_members_without_consent_are_counted_whether_they_would_be_mailed_or_not(
    client: Client, database: Database, policy: str
) -> None:
    """The law asks for evidence whatever the tenant has set; the audience's own count says how many lack it."""
    draft = (await checked(client, GOOD))["campaign_id"]
    await database.pool.execute("UPDATE tenants SET settings = jsonb_build_object('consent_policy', $1::text)", policy)
    answer = await done(await client.get(f"/v1/campaigns/{draft}/checks"), 200)
    [found] = [found for found in answer["findings"] if found["code"] == "members_without_consent"]
    assert "1 people" in found["message_en"]
    assert "1 人" in found["message_ja"]


@pytest.mark.parametrize("part", ["text"])
async def test_text_part_that_lacks_what_the_html_shows_is_a_warning(client: Client, part: str) -> None:
    """A text part of one's own is looked at too."""
    draft = await a_campaign(client, people=0, from_name="サンプル商事株式会社")
    form = {"name": "own", "kind": "mjml", "subject": "s", "source": GOOD, "text": "サンプル商事株式会社のセール"}
    template = await done(await client.post("/v1/templates", json=form), 201)
    await done(await client.post(f"/v1/templates/{template['id']}/versions/1/publish"), 200)
    change = {"template_version_id": template["version"]["id"]}
    await done(await client.patch(f"/v1/campaigns/{draft['id']}", json=change), 200)
    answer = await done(await client.get(f"/v1/campaigns/{draft['id']}/checks"), 200)
    found = [found for found in answer["findings"] if found["pointer"] == f"/template/{part}"]
    assert len(found) == 4
    assert {one["severity"] for one in found} == {"warning"}


async def test_transactional_mail_is_not_advertising(client: Client) -> None:
    """Mail about an order need not show what advertising has to."""
    answer = await checked(client, BAD, **{"class": "transactional"})
    assert answer["findings"] == []


async def test_checks_of_another_tenants_campaign_are_not_there(client: Client, make_client: MakeClient) -> None:
    """404, as for all else."""
    answer = await checked(client, GOOD)
    other = await make_client("globex")
    problem(await other.get(f"/v1/campaigns/{answer['campaign_id']}/checks"), 404, "not-found")
