"""What is asked of the API: each operation with requests for things all over the tenant, so that pages differ."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.api_parts.tenant import Sender, Tenant
from benchmarks.http_load import request_text
from services.api.paging import cursor_of

VARIANTS = 500
PAGE_ROWS = 100


@dataclass(frozen=True, slots=True)
class Operation:
    """Requests of one kind, and the status that each is answered with."""

    name: str
    what: str
    status: str
    requests: list[str]


def reads(tenant: Tenant) -> list[Operation]:
    """Give the common reads."""
    chance = random.Random(5)
    campaign = f"/v1/campaigns/{tenant.campaign_id}"
    message_id = _one_of(chance, tenant.message_ids)
    contact_id = _one_of(chance, tenant.contact_ids)
    address = _one_of(chance, tenant.addresses)
    suppressed = _one_of(chance, tenant.suppressed)
    paths: dict[str, tuple[str, Callable[[], str]]] = {
        "getCampaign": ("a campaign", lambda: campaign),
        "getCampaignStats": ("its statistics", lambda: f"{campaign}/stats"),
        "listCampaigns": ("all campaigns", lambda: "/v1/campaigns"),
        "listCampaignMessages": (
            "a page of its messages",
            lambda: f"{campaign}/messages?cursor={cursor_of(message_id())}",
        ),
        "listMessages": (
            "its bounced messages",
            lambda: (
                f"/v1/messages?state=bounced&campaign_id={tenant.campaign_id}"
                f"&cursor={cursor_of(f'{tenant.campaign_id} {message_id()}')}"
            ),
        ),
        "getMessage": ("a message with its timeline", lambda: f"/v1/messages/{message_id()}"),
        "listContacts": ("a page of contacts", lambda: f"/v1/contacts?cursor={cursor_of(contact_id())}"),
        "findContact": ("a contact by address", lambda: f"/v1/contacts?email={address()}"),
        "listLists": ("all lists", lambda: "/v1/lists"),
        "listMembers": (
            "a page of a list's members",
            lambda: f"/v1/lists/{tenant.list_id}/members?cursor={cursor_of(contact_id())}",
        ),
        "listSuppressions": (
            "a page of suppressions",
            lambda: f"/v1/suppressions?cursor={cursor_of(f'{suppressed()} 0')}",
        ),
        "getSuppression": ("whether an address is suppressed", lambda: f"/v1/suppressions/{suppressed()}"),
        "listTemplates": ("all templates", lambda: "/v1/templates"),
        "getTemplate": ("a template", lambda: f"/v1/templates/{tenant.template_id}"),
    }
    headers = {"Authorization": f"Bearer {tenant.key}"}
    return [
        Operation(name, what, "200", [request_text("GET", path(), headers) for _ in range(VARIANTS)])
        for name, (what, path) in paths.items()
    ]


def sends(sender: Sender) -> Operation:
    """Give single sends: a test of a campaign to one address, each another."""
    path = f"/v1/campaigns/{sender.campaign_id}/test"
    headers = {"Authorization": f"Bearer {sender.key}"}
    requests = [
        request_text(
            "POST", path, headers, json.dumps({"to": [f"tx{n}@d{n % 40}.example"], "variables": {"name": "Taro"}})
        )
        for n in range(VARIANTS)
    ]
    return Operation("testCampaign", "a single send", "202", requests)


def _one_of(chance: random.Random, values: list[int] | list[str]) -> Callable[[], int | str]:
    return lambda: values[chance.randrange(len(values))]
