"""The whole of Hayabin as processes, a scripted internet, and a campaign that was sent through it.

Promises: started once for a module; the campaign is at its end, with its stats, when a test begins.
"""

import asyncio
import csv
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import asyncpg
import httpx
import pytest

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
