"""One campaign end to end: REST to SMTP reply, five services as processes, real RabbitMQ and PostgreSQL, a scripted internet.

Twelve domains that each behave in their own way; the receiving servers' journal, the ledger and the API must tell the same
story, and every received mail must be what it should be.
"""

import email.policy
import json
import re
from collections import Counter
from email import message_from_bytes
from email.message import EmailMessage
from typing import Any, cast
from urllib.parse import urlsplit

import dkim
import httpx
import pytest

from hayabin.domain.message import MessageState
from tests.e2e.conftest import DOMAINS, EQUATION, LINKS, PEOPLE, WANTED, World, wait_until


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_campaign_equation_holds_and_every_domain_has_its_outcome(world: World, sent: dict[str, Any]) -> None:
    """Audience = sum of states, in the stats and in the ledger; each kind of receiver left its state and reason."""
    assert sent["audience"] == PEOPLE
    assert sum(sent[name] for name in EQUATION) == PEOPLE
    assert sent["due"] == 0
    ledger = {row["state"]: row["n"] for row in world.query("SELECT state, count(*) AS n FROM messages GROUP BY state")}
    assert ledger["accepted"] == sent["accepted"]
    assert ledger["bounced"] == sent["bounced"]
    assert ledger["unknown"] == sent["unknown"] == PEOPLE * DOMAINS["lost.example"] // 100
    assert set(ledger) <= set(MessageState)
    by_domain = world.query(
        "SELECT split_part(wire, '@', 2) AS domain, state, reason, count(*) AS n FROM messages JOIN recipients "
        "ON message_id = id GROUP BY 1, 2, 3"
    )
    for row in by_domain:
        state, reason = WANTED.get(row["domain"], ("accepted", None))
        assert row["state"] == state, dict(row)
        if reason:
            assert row["reason"] == reason, dict(row)
        assert row["n"] == PEOPLE * DOMAINS[row["domain"]] // 100
    assert sent["accepted_after_retry"] == PEOPLE * (DOMAINS["grey.example"] + DOMAINS["busy.example"]) // 100


@pytest.mark.timeout(100)
def test_campaign_each_accepted_recipient_is_in_a_journal_exactly_once(world: World, sent: dict[str, Any]) -> None:
    """The receiving side is the judge: nobody lost, nobody twice, from both source IPs of the pool."""
    rows = world.query("SELECT wire FROM messages JOIN recipients ON message_id = id WHERE state = 'accepted'")
    journal = world.journal()
    assert Counter(entry["rcpt_to"] for entry in journal) == Counter(row["wire"] for row in rows)
    assert {entry["peer_ip"] for entry in journal} <= {"127.0.0.61", "127.0.0.62"}
    assert {entry["ehlo"] for entry in journal} <= {"out1.hayabin.example", "out2.hayabin.example"}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_received_mails_verify_parse_and_are_personal(world: World, sent: dict[str, Any]) -> None:
    """Every mail: both signatures by dkimpy, the recipient's own name, working one-click headers, 12 tracked links."""
    records = {
        f"{row['selector']}._domainkey.mail.acme.example.".encode(): (
            f"v=DKIM1; k={'rsa' if row['algorithm'].startswith('rsa') else 'ed25519'}; p={row['public_key']}".encode()
        )
        for row in world.query("SELECT selector, algorithm, public_key FROM dkim_keys")
    }
    names = {row["wire"]: row["name"] for row in world.query("SELECT wire, name FROM recipients")}
    journal = world.journal()
    for entry in journal:
        mail = world.mail(entry)
        for number in range(2):
            assert dkim.DKIM(mail).verify(idx=number, dnsfunc=lambda name, timeout=5: records.get(name))  # noqa: ARG005
        message = message_from_bytes(mail, policy=email.policy.default)
        name = names[entry["rcpt_to"]]
        assert message["To"].addresses[0].display_name == name
        assert message["Subject"] == f"{name} 様へのお知らせ"
        assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        text, html = (cast("EmailMessage", part).get_content() for part in message.iter_parts())
        assert f"{name} 様、株式会社サンプル" in html
        assert f"{name} 様、株式会社サンプル" in text
        assert len(set(re.findall(r"/c/[\w-]+/(\d+)", html))) == LINKS


def test_operator_asks_why_and_is_shown_the_conversation(world: World, sent: dict[str, Any]) -> None:
    """A greylisted recipient's message shows both attempts: from where, to where, TLS, and what was said, without content."""
    row = world.query(
        "SELECT message_id FROM attempts WHERE state = 'accepted' AND attempt = 2 ORDER BY message_id LIMIT 1"
    )[0]
    message = world.call("GET", f"/v1/messages/{row['message_id']}", 200)
    attempts = [item for item in message["timeline"] if item["what"] == "attempt"]
    assert [(item["state"], item["phase"]) for item in attempts] == [("deferred", "rcpt"), ("accepted", "dot")]
    for item in attempts:
        assert (item["address"], item["tls_policy"]) == ("127.0.0.5", "opportunistic")
        assert item["transcript"][0].startswith(f"connected {item['source_ip']} -> 127.0.0.5:")
        assert any(line.startswith(f"C: RCPT TO:<{message['recipient']}>") for line in item["transcript"])
        assert not any("text/html" in line for line in item["transcript"]), "content stays out"
    assert "S: 451 4.7.1" in "\n".join(attempts[0]["transcript"])
    assert any(line.startswith("S: 250") for line in attempts[1]["transcript"][-2:])


@pytest.mark.timeout(100)
def test_recipients_open_click_and_unsubscribe_by_the_links_they_received(world: World, sent: dict[str, Any]) -> None:
    """Links lead where the template says; GET of the unsubscribe link changes nothing, the one-click POST does."""
    readers = [entry for entry in world.journal() if entry["rcpt_to"].endswith("@good.example")][:30]
    with httpx.Client() as person:
        for number, entry in enumerate(readers):
            message = message_from_bytes(world.mail(entry), policy=email.policy.default)
            html = cast("EmailMessage", list(message.iter_parts())[1]).get_content()
            pixel = re.search(r'src="([^"]+/o/[^"]+)"', html)
            assert pixel
            assert person.get(pixel[1]).status_code == 200
            if number < 20:
                link = re.search(r'href="([^"]+/c/[\w-]+/3)"', html)
                assert link
                answer = person.get(link[1])
                assert answer.status_code == 302
                assert answer.headers["location"] == "https://shop.example/p/3?a=1&b=3"
            if number < 10:
                url = message["List-Unsubscribe"].partition(",")[0].strip().strip("<>")
                assert person.get(url).status_code == 200
        before = world.query("SELECT count(*) AS n FROM suppressions WHERE reason = 'unsubscribe'")
        assert before[0]["n"] == 0
        for entry in readers[:10]:
            message = message_from_bytes(world.mail(entry), policy=email.policy.default)
            url = message["List-Unsubscribe"].partition(",")[0].strip().strip("<>")
            assert person.post(url, data={"List-Unsubscribe": "One-Click"}).status_code == 200
        tampered = url[:-1] + ("A" if url[-1] != "A" else "B")
        assert person.post(tampered, data={"List-Unsubscribe": "One-Click"}).status_code == 404
        assert urlsplit(url).netloc == urlsplit(world.tracker).netloc

    def stats() -> Any:
        return world.call("GET", f"/v1/campaigns/{sent['campaign_id']}/stats", 200)

    seen = wait_until(stats, lambda s: (s["opened"], s["clicked"], s["unsubscribed"]) == (30, 20, 10), 30)
    assert sum(seen[name] for name in EQUATION) == PEOPLE


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_second_campaign_spares_who_unsubscribed_or_bounced(world: World, sent: dict[str, Any]) -> None:
    """Unsubscribed people and hard bounces get nothing any more; they stand in the ledger as suppressed."""
    hard = [
        row["address_key"]
        for row in wait_until(
            lambda: world.query("SELECT address_key FROM suppressions WHERE reason = 'hard_bounce'"),
            lambda rows: len(rows) >= PEOPLE * DOMAINS["nobody.example"] // 100,
            30,
        )
    ]
    gone = {row["address_key"] for row in world.query("SELECT address_key FROM suppressions")}
    assert len(gone) >= len(hard) + 10
    received_before = len(world.journal())
    second = world.call("POST", "/v1/campaigns", 201, json={**sent["form"], "name": "second"})
    world.call("POST", f"/v1/campaigns/{second['id']}/launch", 200, json={"allow_unverified_domain": True})
    stats = wait_until(
        lambda: world.call("GET", f"/v1/campaigns/{second['id']}/stats", 200), lambda s: s["state"] == "completed"
    )
    assert sum(stats[name] for name in EQUATION) == stats["audience"]
    after = [entry["rcpt_to"].lower() for entry in world.journal()[received_before:]]
    assert len(after) == stats["accepted"]
    assert not gone & set(after)


@pytest.mark.timeout(30)
def test_trace_has_all_hops_from_the_launch_to_the_smtp_reply(world: World, sent: dict[str, Any]) -> None:
    """One trace id from POST …/launch over both AMQP hops to SMTP transactions with their reply codes."""

    def spans() -> list[dict[str, Any]]:
        return [json.loads(line) for line in (world.folder / "spans.jsonl").read_text().splitlines()]

    launches = [s for s in wait_until(spans, bool, 10) if s["name"] == "POST /v1/campaigns/{campaign_id}/launch"]
    trace = [s for s in spans() if s["trace_id"] == launches[0]["trace_id"]]
    names = Counter(span["name"] for span in trace)
    assert {"render.chunk", "dispatch.batch", "smtp.transaction"} <= set(names)
    assert names["smtp.transaction"] >= PEOPLE * 0.8
    replies = {s["attributes"].get("smtp.reply_code") for s in trace if s["name"] == "smtp.transaction"}
    assert {250, 550} <= replies
    by_id = {span["span_id"]: span for span in trace}
    transaction = next(span for span in trace if span["name"] == "smtp.transaction")
    batch = by_id[transaction["parent_id"]]
    chunk = by_id[batch["parent_id"]]
    assert (batch["name"], chunk["name"]) == ("dispatch.batch", "render.chunk")
    above = by_id[chunk["parent_id"]]
    while above["name"] != launches[0]["name"]:  # the framework may have spans of its own between
        above = by_id[above["parent_id"]]
    assert above["service"] == "hayabin-api"
    assert not any(re.search(r"@\w+\.example", json.dumps(span["attributes"])) for span in trace)


def test_stop_leaves_no_claim_open(world: World, sent: dict[str, Any]) -> None:
    """SIGTERM ends every service with status 0, and the ledger has nothing claimed."""
    statuses = {service.name: world.system.stop(service) for service in list(world.system.services)}
    assert set(statuses.values()) == {0}, statuses
    assert world.query("SELECT count(*) AS n FROM messages WHERE state = 'claimed'")[0]["n"] == 0
