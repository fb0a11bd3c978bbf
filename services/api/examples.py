"""An example of each operation's request and answer, for the OpenAPI document and the reference page.

Promises: every operation has one; tests send the requests and hold the answers against the examples' members.
"""

from typing import Any

from services.api.access_examples import ACCESS_ANSWERS, ACCESS_REQUESTS
from services.api.consent_examples import CONSENT_ANSWERS, CONSENT_REQUESTS
from services.api.contacts_examples import CONTACT as _CONTACT
from services.api.contacts_examples import CONTACTS_ANSWERS, CONTACTS_REQUESTS
from services.api.engine_examples import ENGINE_ANSWERS, ENGINE_REQUESTS
from services.api.erasure_examples import ERASURE_ANSWERS, ERASURE_REQUESTS
from services.api.governance_examples import GOVERNANCE_ANSWERS, GOVERNANCE_REQUESTS, LEGAL_FINDING
from services.api.segments_examples import AUDIENCE, SEGMENTS_ANSWERS, SEGMENTS_REQUESTS
from services.api.sign_up_examples import SIGN_UP_ANSWERS, SIGN_UP_REQUESTS
from services.api.transfers_examples import IMPORT, NEW_IMPORT, TRANSFERS_ANSWERS, TRANSFERS_REQUESTS

_AT = "2026-11-24T09:00:00+00:00"
_LIST = {
    "id": 3, "name": "newsletter", "description": "月刊", "public": True, "public_name": "今月のお知らせ",
    "created_at": _AT,
}  # fmt: skip
_ERROR = {"line": 12, "column": "メールアドレス", "reason": "misplaced_dot", "value": "a..b@example.com"}
_MJML = (
    "<mjml><mj-body><mj-section><mj-column><mj-text>{{ name }} 様</mj-text>"
    '<mj-button href="https://shop.example.jp/">見る</mj-button></mj-column></mj-section></mj-body></mjml>'
)
_SOURCE = {"kind": "mjml", "subject": "{{ name }} 様、今月のお知らせ", "source": _MJML}
_PUBLISHED = {
    "id": 9, "number": 1, "kind": "mjml", "subject": _SOURCE["subject"], "created_at": _AT, "published_at": _AT,
}  # fmt: skip
_DRAFT_VERSION = {**_PUBLISHED, "published_at": None, "fields": ["name"], "links": ["https://shop.example.jp/"]}
_TEMPLATE = {"id": 4, "name": "newsletter", "created_at": _AT}
_CAMPAIGN_FORM = {
    "name": "November",
    "template_version_id": 9,
    "list_id": 3,
    "from_name": "サンプル商事",
    "from_address": "news@mail.example.jp",
    "pool": "main",
}
_DRAFT = {
    "id": 21, **_CAMPAIGN_FORM, "class": "bulk", "kind": "campaign", "state": "draft", "state_reason": "",
    "domain_id": 2, "reply_to": "", "merge_policy": "fallback", "schedule_at": None, "send_by": None,
    "created_at": _AT, "updated_at": _AT, "launched_at": None, "completed_at": None, "audience": 0, "filling": False,
    "audience_definition": {},
}  # fmt: skip
_SENDING = {**_DRAFT, "state": "sending", "launched_at": _AT, "audience": 985}
_STATS = {
    "campaign_id": 21, "state": "sending", "audience": 985, "filling": False, "accepted": 950, "failed": 8,
    "suppressed": 4, "suppressed_by_reason": {"unsubscribed": 1, "suppressed": 3},
    "cancelled": 0, "expired": 0, "unknown": 1, "due": 22, "bounced": 7,
    "bounced_by_reason": {"unknown_user": 7}, "render_failed": 1,
    "render_failed_by_reason": {"merge_field_missing": 1}, "complained": 1,
    "deferrals_by_reason": {"greylisted": 31}, "deferrals": 31, "accepted_after_retry": 30, "opened": 412, "opens": 640,
    "clicked": 97, "clicks": 131, "unsubscribed": 2,
}  # fmt: skip
_MESSAGE = {
    "id": 1001, "recipient": '"a..b"@docomo.ne.jp', "contact_id": 17, "state": "accepted", "attempts": 2,
    "next_attempt_at": None, "reason": None, "changed_at": _AT,
}  # fmt: skip
_TIMELINE = [
    {"at": _AT, "what": "attempt", "attempt": 1, "state": "deferred", "reason": "greylisted", "phase": "rcpt",
     "code": 451, "enhanced": "4.7.1", "reply": "451 4.7.1 Try again later", "source_ip": "192.0.2.10",
     "mx": "mx.example.net", "address": "198.51.100.7", "lane": "other-2", "tls": True, "tls_version": "TLSv1.3",
     "tls_policy": "mta-sts", "tls_result": "verified-pkix", "duration_ms": 120,
     "transcript": ["connected 192.0.2.10 -> 198.51.100.7:25 mx.example.net TLSv1.3, mail 1 of the connection",
                    "S: 220 mx.example.net ESMTP", "C: EHLO mta1.example.jp", "S: 250 mx.example.net"]},
    {"at": _AT, "what": "open", "link": None, "detail": ""},
]  # fmt: skip
_UNKNOWN = {
    "id": 1002, "campaign_id": 21, "recipient": "b@example.net", "state": "unknown", "attempts": 1,
    "reason": "dispatcher_lost", "changed_at": _AT,
}  # fmt: skip
_SUPPRESSION = {
    "email": "b@example.net", "erased": False, "list_id": 0, "scope": "tenant", "reason": "manual", "source": "api",
    "created_at": _AT, "expires_at": None,
}  # fmt: skip
_RECORDS = [
    {"name": "hb2r._domainkey.mail.example.jp", "type": "TXT", "value": "v=DKIM1; k=rsa; p=MIIBIjANBg…",
     "purpose": "DKIM rsa-sha256"},
    {"name": "hb2e._domainkey.mail.example.jp", "type": "TXT", "value": "v=DKIM1; k=ed25519; p=11qYAYKx…",
     "purpose": "DKIM ed25519-sha256"},
    {"name": "_dmarc.mail.example.jp", "type": "TXT", "value": "v=DMARC1; p=none", "purpose": "DMARC"},
]  # fmt: skip
_DOMAIN_ROW = {"id": 2, "name": "mail.example.jp", "verified_at": None, "created_at": _AT}
_DOMAIN = {**_DOMAIN_ROW, "dns_records": _RECORDS}


def _page(*items: dict[str, Any]) -> dict[str, Any]:
    return {"items": list(items), "next_cursor": None}


REQUESTS: dict[str, Any] = {
    "createList": {"name": "newsletter", "description": "月刊", "public": True, "public_name": "今月のお知らせ"},
    "addMembers": {
        "contact_ids": [17],
        "state": "subscribed",
        "consent": {
            "basis": "written",
            "source": "展示会 2026",
            "note": "名刺 No. 12, 同意欄にチェック",
            "wording": "v2",
        },
    },
    "startImport": "email,name,company\na..b@docomo.ne.jp,田中 花子,サンプル商事\n",
    "createTemplate": {"name": "newsletter", **_SOURCE},
    "addTemplateVersion": _SOURCE,
    "previewTemplateVersion": {"variables": {"name": "田中 花子"}},
    "createCampaign": _CAMPAIGN_FORM,
    "changeCampaign": {"name": "November, second try", "send_by": "2099-12-31T23:59:59+09:00"},
    "launchCampaign": {"allow_unverified_domain": True},
    "scheduleCampaign": {"schedule_at": "2099-12-01T09:00:00+09:00", "allow_unverified_domain": True},
    "testCampaign": {"to": ["me@example.jp"], "variables": {"name": "私"}},
    "resolveMessage": {"as": "accepted"},
    "resolveUnknown": {"as": "resend"},
    "suppress": {"emails": ["b@example.net"], "domains": ["example.org"], "list_id": 0, "reason": "manual"},
    "addDomain": {"name": "mail.example.jp"},
    **ENGINE_REQUESTS,
    **ACCESS_REQUESTS,
    **GOVERNANCE_REQUESTS,
    **CONTACTS_REQUESTS,
    **TRANSFERS_REQUESTS,
    **CONSENT_REQUESTS,
    **SIGN_UP_REQUESTS,
    **SEGMENTS_REQUESTS,
    **ERASURE_REQUESTS,
}
"""By operation id; operations without a body are not here."""

ANSWERS: dict[str, Any] = {
    "deleteContact": None,
    "createList": _LIST,
    "listLists": _page(_LIST),
    "getList": {
        **_LIST,
        "subscribed": 985,
        "states": {"pending": 3, "subscribed": 985, "unsubscribed": 12, "bounced": 4, "complained": 1},
    },
    "listMembers": _page(
        {
            "contact_id": 17,
            "email": _CONTACT["email"],
            "name": "田中 花子",
            "state": "subscribed",
            "consent": "form",
            "updated_at": _AT,
        }
    ),
    "addMembers": {"added": 1},
    "removeMember": None,
    "startImport": NEW_IMPORT,
    "listImports": _page(IMPORT),
    "getImport": IMPORT,
    "listImportErrors": _page(_ERROR),
    "downloadImportErrors": "line,column,reason,value\n12,メールアドレス,misplaced_dot,a..b@example.com\n",
    "createTemplate": {"id": 4, "name": "newsletter", "version": _DRAFT_VERSION},
    "listTemplates": _page(_TEMPLATE),
    "getTemplate": {**_TEMPLATE, "versions": [_PUBLISHED]},
    "addTemplateVersion": {**_DRAFT_VERSION, "id": 10, "number": 2},
    "getTemplateVersion": {**_DRAFT_VERSION, "source": _MJML, "text": None},
    "publishTemplateVersion": _PUBLISHED,
    "previewTemplateVersion": {
        "subject": "田中 花子 様、今月のお知らせ",
        "html": "<!doctype html>…",
        "text": "田中 花子 様\n…",
    },
    "createCampaign": _DRAFT,
    "changeCampaign": {**_DRAFT, "name": "November, second try", "send_by": "2099-12-31T14:59:59+00:00"},
    "listCampaigns": _page(_DRAFT),
    "getCampaign": _SENDING,
    "countAudience": AUDIENCE,
    "launchCampaign": {**_SENDING, "undo_until": None, "legal_findings": [LEGAL_FINDING]},
    "scheduleCampaign": {
        **_DRAFT,
        "state": "scheduled",
        "schedule_at": "2099-12-01T00:00:00+00:00",
        "legal_findings": [LEGAL_FINDING],
    },
    "unscheduleCampaign": _DRAFT,
    "pauseCampaign": {**_SENDING, "state": "paused", "state_reason": "by request"},
    "resumeCampaign": _SENDING,
    "cancelCampaign": {**_SENDING, "state": "cancelled", "state_reason": "by request"},
    "testCampaign": {**_SENDING, "id": 22, "class": "transactional", "kind": "test", "list_id": None, "audience": 1},
    "getCampaignStats": _STATS,
    "listCampaignMessages": _page(_MESSAGE),
    "getMessage": {
        **_MESSAGE,
        "campaign_id": 21,
        "state": "deferred",
        "reason": "greylisted",
        "next_attempt_at": _AT,
        "waiting": {"reason": "greylisted", "until": _AT},
        "timeline": _TIMELINE,
    },
    "listMessages": _page(_UNKNOWN),
    "resolveMessage": {
        **_MESSAGE,
        "campaign_id": 21,
        "id": 1002,
        "recipient": "b@example.net",
        "attempts": 1,
        "reason": "resolved_accepted",
        "waiting": None,
        "timeline": _TIMELINE[:1],
    },
    "resolveUnknown": {"campaign_id": 21, "resolved": 20000, "remaining": 80000, "next_cursor": "azoyMTAwMg"},
    "suppress": {"added": 2, "known": 0},
    "listSuppressions": _page(_SUPPRESSION),
    "getSuppression": {"email": "b@example.net", "suppressions": [_SUPPRESSION]},
    "unsuppress": None,
    "addDomain": _DOMAIN,
    "listDomains": _page(_DOMAIN_ROW),
    "getDomain": _DOMAIN,
    "verifyDomain": {**_DOMAIN, "verified_at": _AT},
    **ENGINE_ANSWERS,
    **ACCESS_ANSWERS,
    **GOVERNANCE_ANSWERS,
    **CONTACTS_ANSWERS,
    **TRANSFERS_ANSWERS,
    **CONSENT_ANSWERS,
    **SIGN_UP_ANSWERS,
    **SEGMENTS_ANSWERS,
    **ERASURE_ANSWERS,
    "getHealth": {
        "status": "ok",
        "version": "0.1.0",
        "held_reason": "",
        "belt_problem": "",
        "pulse_age_s": 1.2,
        "outbox_age_s": 0.0,
        "dispatchers": 1,
    },
}
"""By operation id; None where the answer has no body."""
