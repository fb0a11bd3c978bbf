"""One campaign end to end: REST to SMTP reply, five services as processes, real RabbitMQ and PostgreSQL, a scripted internet.

Twelve domains that each behave in their own way; the receiving servers' journal, the ledger and the API must tell the same
story, and every received mail must be what it should be.
"""

import asyncio
import csv
import email.policy
import io
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import asyncpg
import dkim
import httpx
import pytest

from hayabin.domain.message import MessageState
from tests.support.instances import free_port
from tests.support.system import System, helper_process, running_system

PEOPLE = 5000
EQUATION = ("accepted", "failed", "suppressed", "cancelled", "expired", "unknown", "due")
RULES = {
    "grey.example": "greylist 1",
    "busy.example": "defer 2 rcpt 450 4.2.1 try later",
    "nobody.example": "reject rcpt 550 5.1.1 no such user",
    "full.example": "reject dot 552 5.2.2 mailbox full",
    "lost.example": "drop dot",
    "slow.example": "slow 0.02",
}
DOMAINS = {  # domain → part of the audience, in percent
    "good.example": 40, "docomo.ne.jp": 10, "gmail.com": 10, "grey.example": 8, "busy.example": 5, "slow.example": 4,
    "nobody.example": 5, "full.example": 5, "lost.example": 3, "null.example": 4, "nowhere.example": 4,
    "other.example": 2,
}  # fmt: skip
WANTED = {
    "nobody.example": ("bounced", "user_unknown"),
    "full.example": ("bounced", "mailbox_full"),
    "lost.example": ("unknown", None),
    "null.example": ("bounced", "null_mx"),
    "nowhere.example": ("bounced", "domain_not_found"),
}
LINKS = 12
MJML = (
    "<mjml><mj-body><mj-section><mj-column><mj-text>{{ name }} 様、{{ company }} の皆さま</mj-text>"
    + "".join(f'<mj-button href="https://shop.example/p/{n}?a=1&amp;b={n}">商品 {n}</mj-button>' for n in range(LINKS))
    + '<mj-text>ようこそ。<a href="{{ unsubscribe_url }}">配信停止</a></mj-text>'
    "</mj-column></mj-section></mj-body></mjml>"
)


@dataclass(slots=True)
class World:
    """The running system and where to reach it."""

    system: System
    database_url: str
    api: httpx.Client
    tracker: str
    folder: Path

    def journal(self) -> list[dict[str, Any]]:
        """Every mail that a receiving server finally took."""
        path = self.folder / "mx.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def mail(self, entry: dict[str, Any]) -> bytes:
        """The bytes that were received."""
        return Path(entry["eml"]).read_bytes()

    def query(self, sql: str, *arguments: object) -> list[Any]:
        """Rows of the database."""

        async def run() -> list[Any]:
            connection = await asyncpg.connect(self.database_url)
            try:
                return list(await connection.fetch(sql, *arguments))
            finally:
                await connection.close()

        return asyncio.run(run())

    def call(self, method: str, path: str, status: int, **more: Any) -> Any:
        """One REST call that must have a status."""
        answer = self.api.request(method, path, **more)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None


def admin(system: System, *arguments: str) -> str:
    """Run ``hayabin admin``."""
    command = [sys.executable, "-m", "services.api.main", "admin", *arguments]
    environment = {"PATH": "/usr/bin:/bin", **system.environment}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Logs, journal, received mails."""
    return tmp_path_factory.mktemp("e2e")


@pytest.fixture(scope="module")
def world(folder: Path, amqp_url: str, postgres_url: str, template_database: str) -> Iterator[World]:
    """Everything started, and a tenant with a key."""
    from tests.conftest import new_database, with_database  # noqa: PLC0415 - fixtures of function scope would not do

    zone: dict[str, Any] = {name: {"MX": "10 mx.test.example."} for name in DOMAINS}
    del zone["nowhere.example"]
    zone |= {"null.example": {"MX": "0 ."}, "mx.test.example": {"A": "127.0.0.5"}}
    mx = {
        "journal": str(folder / "mx.jsonl"),
        "store": str(folder / "mails"),
        "listeners": [{"address": "127.0.0.5", "recipients": {**RULES, "*": "accept"}}],
    }
    policies = folder / "policies"
    policies.mkdir()
    for name in ("docomo", "gmail"):
        (policies / f"{name}.toml").write_text(
            "rate_per_s = 500\nburst = 50\nconnections_start = 4\nconnection_spacing_s = 0\n"
            "quiet_before_hour_s = 0\nquiet_after_hour_s = 0\n"
        )
    tracker_port, api_port, bounce_port = free_port(), free_port(), free_port()
    with (
        new_database(postgres_url, template_database) as name,
        helper_process("tests.support.dns_zone", {"address": "127.0.0.1", "zone": zone}, folder) as dns,
        helper_process("tests.support.scripted_mx", mx, folder) as receivers,
        running_system(
            folder,
            with_database(postgres_url, name),
            amqp_url,
            public_url=f"http://127.0.0.1:{tracker_port}",
            trace_file=str(folder / "spans.jsonl"),
            trace_sample_ratio="1.0",
        ) as system,
    ):
        mx_port = cast("Any", receivers)["listeners"][0]["port"]
        services = [
            system.launch(
                "dispatcher",
                pool="main",
                source_ips="127.0.0.61=out1.hayabin.example,127.0.0.62=out2.hayabin.example",
                smtp_port=str(mx_port),
                dns_servers=f"127.0.0.1:{dns['port']}",
                allow_private_mx="true",
                policy_dir=str(policies),
                retry_delays_s="1,1,1",
            ),
            system.launch("api", http_host="127.0.0.1", http_port=str(api_port)),
            system.launch("scheduler"),
            system.launch("renderer", name="renderer-0"),
            system.launch("renderer", name="renderer-1"),
            system.launch("tracker", http_host="127.0.0.1", http_port=str(tracker_port)),
            system.launch("bounce", bounce_host="127.0.0.1", bounce_port=str(bounce_port)),
        ]
        for service in services:
            system.wait_ready(service)
        admin(system, "create-tenant", "acme")
        key = admin(system, "create-key", "acme")
        with httpx.Client(
            base_url=f"http://127.0.0.1:{api_port}", headers={"Authorization": f"Bearer {key}"}, timeout=60
        ) as api:
            yield World(system, with_database(postgres_url, name), api, f"http://127.0.0.1:{tracker_port}", folder)


def audience() -> list[tuple[str, str]]:
    """Address and name of everybody."""
    people = []
    for domain, percent in DOMAINS.items():
        for number in range(PEOPLE * percent // 100):
            local = f"a..{number}" if domain == "docomo.ne.jp" else f"user{number}"
            people.append((f"{local}@{domain}", f"田中 {domain.split('.')[0]}{number}"))
    return people


def as_csv(people: list[tuple[str, str]]) -> bytes:
    """The file to import."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["email", "氏名", "company"])
    writer.writerows([address, name, "株式会社サンプル"] for address, name in people)
    return text.getvalue().encode("cp932")


def wait_until(look: Any, holds: Any, timeout_s: float = 240) -> Any:
    """What ``look`` gives once ``holds`` says yes."""
    deadline = time.monotonic() + timeout_s
    while not holds(seen := look()):
        assert time.monotonic() < deadline, seen
        time.sleep(0.3)
    return seen


@pytest.fixture(scope="module")
def sent(world: World) -> dict[str, Any]:
    """The campaign after its last attempt, with its stats."""
    made = world.call("POST", "/v1/lists", 201, json={"name": "everybody"})
    job = world.call(
        "POST",
        f"/v1/imports?list_id={made['id']}",
        202,
        content=as_csv(audience()),
        headers={"Content-Type": "text/csv"},
    )
    done = wait_until(lambda: world.call("GET", f"/v1/imports/{job['id']}", 200), lambda j: j["state"] == "completed")
    assert (done["rows_imported"], done["rows_invalid"]) == (PEOPLE, 0)
    template = {"name": "t", "kind": "mjml", "subject": "{{ name }} 様へのお知らせ", "source": MJML}
    version = world.call("POST", "/v1/templates", 201, json=template)
    world.call("POST", f"/v1/templates/{version['id']}/versions/1/publish", 200)
    world.call("POST", "/v1/domains", 201, json={"name": "mail.acme.example"})
    form = {"name": "c", "template_version_id": version["version"]["id"], "list_id": made["id"], "from_name": "早便",
            "from_address": "news@mail.acme.example"}  # fmt: skip
    campaign = world.call("POST", "/v1/campaigns", 201, json=form)
    world.call(
        "POST", f"/v1/campaigns/{campaign['id']}/launch", 200, json={"allow_unverified_domain": True},
        headers={"Idempotency-Key": "once"},
    )  # fmt: skip

    def stats() -> Any:
        return world.call("GET", f"/v1/campaigns/{campaign['id']}/stats", 200)

    finished = wait_until(stats, lambda s: s["state"] == "completed")
    return {"campaign_id": campaign["id"], "form": form, **finished}


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
