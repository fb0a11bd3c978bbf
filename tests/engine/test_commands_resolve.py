"""``hayabin resolve``: what would be done with mail to an address, with and without a database."""

import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hayabin.database.engine import Pool, open_pool
from services.dispatcher.control import report_policies
from services.dispatcher.policy import load_policies
from services.dispatcher.resolution import UNKNOWN
from tests.support.command_run import Ran, run_command
from tests.support.dns_zone import DnsZone, Zone

ZONE: Zone = {
    "example.jp": {"MX": ["10 mx1.example.jp.", "20 mx2.example.jp."]},
    "mx1.example.jp": {"A": "127.0.0.2"},
    "mx2.example.jp": {"A": "127.0.0.3"},
    "corp.example": {"MX": "1 aspmx.l.google.com."},
    "aspmx.l.google.com": {"A": "127.0.0.4"},
    "docomo.ne.jp": {"MX": "10 mfsmax.docomo.ne.jp."},
    "mfsmax.docomo.ne.jp": {"A": "127.0.0.5"},
    "null.example": {"MX": "0 ."},
    "broken.example": "SERVFAIL",
}
KEY = "mx:mx1.example.jp"


async def resolve(*words: str, **settings: str) -> Ran:
    """Run the command against the zone."""
    async with DnsZone(ZONE) as dns:
        servers = f"127.0.0.1:{dns.port}"
        return await run_command("resolve", *words, "--dns", servers, allow_private_mx="true", **settings)


async def answer(*words: str, **settings: str) -> dict[str, Any]:
    """Run the command and read its JSON; the exit code is put to it."""
    ran = await resolve(*words, "--json", **settings)
    found: dict[str, Any] = json.loads("\n".join(ran.lines))
    return {**found, "code": ran.code}


@contextlib.asynccontextmanager
async def pool_of(database_url: str, *ips: str, name: str = "main") -> AsyncIterator[Pool]:
    """Put a pool into the database whose source IPs a dispatcher has in use."""
    database = await open_pool(database_url, name="test", size=1)
    await database.execute("INSERT INTO ip_pools (name) VALUES ($1)", name)
    for ip in ips:
        await database.execute(
            "INSERT INTO pool_sources (pool, address, ehlo_name, dispatcher) VALUES ($1, $2, $3, 'd1')",
            name,
            ip,
            f"mta{ip.rpartition('.')[2]}.example.jp",
        )
    try:
        yield database
    finally:
        await database.close()


async def _suspend(database: Pool, **target: Any) -> None:
    given = {"pool": None, "source_ip": None, "provider": None, "until": None} | target
    await database.execute(
        "INSERT INTO suspensions (pool, source_ip, provider, origin, reason, until) VALUES ($1, $2, $3, 'rule', $4, $5)",
        *(given[name] for name in ("pool", "source_ip", "provider", "reason", "until")),
    )


async def test_resolve_without_database_says_what_is_not_known() -> None:
    """Address, way, lane, policy and source IPs are there, and what is missing is named."""
    ran = await resolve("Taro@Example.jp", source_ips="127.0.0.1=mta1.example.jp")
    assert ran.code == 0
    assert ran.lines[:18] == [
        "Address:    Taro@Example.jp",
        "            RCPT TO:<Taro@example.jp>",
        "            compared as taro@example.jp",
        "            domain example.jp",
        "MX:         10 mx1.example.jp: 127.0.0.2",
        "              no DNSSEC; TLS opportunistic: TLS where it can be had, with whatever certificate",
        "            20 mx2.example.jp: 127.0.0.3",
        "              no DNSSEC; TLS opportunistic: TLS where it can be had, with whatever certificate",
        "MTA-STS:    no policy",
        "Provider:   none of the known",
        "Lane:       mx:mx1.example.jp, queue dispatch.<pool>.other-2",
        "Policy:     default, from each source IP, TLS opportunistic, 22 reply rules",
        "            connections: 2 at first, 10 at most",
        "            connection spacing: 0.1 s",
        "            messages on a connection: 100",
        "            recipients on a connection: 100",
        "            messages a second: no limit",
        "            messages a minute: no limit",
    ]
    assert ran.lines[-4:] == [
        "Pool:       none named",
        "            127.0.0.1 (mta1.example.jp): open",
        f"Not known:  {', '.join(UNKNOWN)} (HAYABIN_DATABASE_URL is not set)",
        "Sent:       now, as far as is known",
    ]  # fmt: skip


async def test_resolve_japanese_mobile_address_has_its_forms_and_quiet_times() -> None:
    """Dots in a row are quoted on the wire and bare in the key; the carrier's policy avoids the full hour."""
    ran = await resolve("A..b@docomo.ne.jp", "--class", "transactional", "--pool", "main")
    assert ran.code == 0
    for line in (
        '            RCPT TO:<"A..b"@docomo.ne.jp>',
        "            compared as a..b@docomo.ne.jp",
        "            domain docomo.ne.jp, of a Japanese mobile carrier",
        "Provider:   docomo, by its domain",
        "            quiet around the full hour: bulk mail from 60 s before to 300 s after",
    ):
        assert line in ran.lines
    assert any(line.startswith("Lane:       docomo, queue dispatch.main.transactional-") for line in ran.lines)


@pytest.mark.parametrize(
    ("address", "state", "because"),
    [
        ("a b@example.jp", "never", "the address is refused: space_inside: white space inside the address"),
        ("a@null.example", "never", "it bounces: 556 5.1.10 the domain takes no mail (null MX)"),
        ("a@none.example", "never", "it bounces: 550 5.1.2 the domain does not exist"),
        ("a@broken.example", "at", "451 4.4.3 the DNS gives no answer for the domain; then it is tried again"),
    ],
)
async def test_resolve_no_way_says_when_and_why(address: str, state: str, because: str) -> None:
    """What is refused for good is never sent, and the exit code says so; a failing DNS is tried again."""
    found = await answer(address)
    assert (found["when"]["state"], found["when"]["because"]) == (state, because)
    assert found["code"] == (0 if state == "at" else 1)


async def test_resolve_retry_schedule_printed_as_times() -> None:
    """The pauses of the settings stand over the policy's; the last one repeats until the mail is too old."""
    found = await answer("a@example.jp", retry_delays_s="60,600", retry_max_age_s="2000")
    times = [datetime.fromisoformat(moment) for moment in found["retries"]]
    assert [(later - times[0]).total_seconds() for later in times] == [0, 600, 1200, 1800]


async def test_resolve_policy_folder_and_usage_errors(tmp_path: Path) -> None:
    """The folder's policy holds; a wrong one is a usage error that names the file."""
    (tmp_path / "default.toml").write_text('tls = "required"\nconnections = 3\n')
    found = await answer("a@example.jp", "--policy-dir", str(tmp_path))
    assert (found["policy"]["connections"], found["policy"]["tls"]) == (3, "required")
    assert found["route"]["hosts"][0]["tls"] == "required: TLS with whatever certificate, or no mail"
    (tmp_path / "default.toml").write_text("connection = 3\n")
    ran = await resolve("a@example.jp", "--policy-dir", str(tmp_path))
    assert (ran.code, "default.toml: unknown key: connection" in ran.error) == (2, True)


async def test_resolve_suspended_lane_sent_at_its_end_or_when_resumed(database_url: str) -> None:
    """With an end the mail goes then; without one somebody has to resume it; another source IP that is open takes it."""
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    async with pool_of(database_url, "127.0.0.1", "127.0.0.9") as database:
        await _suspend(database, provider=KEY, reason="they asked us to", until=until)
        ran = await resolve("a@example.jp", database_url=database_url)
        shown = f"{until:%Y-%m-%d %H:%M:%SZ}"
        assert ran.code == 0
        assert f"            127.0.0.1 (mta1.example.jp): suspended until {shown}: they asked us to" in ran.lines
        assert f"              suspended by rule until {shown}: they asked us to" in ran.lines
        assert ran.lines[-1] == f"Sent:       at {shown}, because suspended: they asked us to"
        await database.execute("UPDATE suspensions SET until = NULL, source_ip = '127.0.0.1'")
        assert (await answer("a@example.jp", database_url=database_url))["when"]["state"] == "now"
        await _suspend(database, pool="main", source_ip="127.0.0.9", reason="moved away")
        found = await answer("a@example.jp", "--pool", "main", database_url=database_url)
        assert (found["code"], found["when"]["state"], found["when"]["at"]) == (1, "held", None)
        assert found["when"]["because"].startswith("suspended: ")
        assert [source["state"] for source in found["sources"]] == ["suspended", "suspended"]


async def test_resolve_used_up_warmup_sent_tomorrow(database_url: str) -> None:
    """Today's cap and what is used of it are shown; when it is used up the mail waits for the next UTC day."""
    async with pool_of(database_url, "127.0.0.1") as database:
        await database.execute(
            "INSERT INTO warmups (source_ip, provider, start_per_day, growth, end_per_day, started_on) "
            "VALUES ('127.0.0.1', '*', 100, 2, 100000, (now() AT TIME ZONE 'UTC')::date)"
        )
        await database.execute(
            "INSERT INTO lane_usage VALUES ('127.0.0.1', 'gmail', (now() AT TIME ZONE 'UTC')::date, 99)"
        )
        found = await answer("a@corp.example", database_url=database_url)
        assert found["when"]["state"] == "now"
        assert found["sources"][0]["caps"] == [{"lane": "gmail", "messages_a_day": 100, "used_today": 99}]
        await database.execute("UPDATE lane_usage SET granted = 100")
        ran = await resolve("a@corp.example", database_url=database_url)
        found = await answer("a@corp.example", database_url=database_url)
    assert "              100 of 100 messages of today used (gmail)" in ran.lines
    assert (found["code"], found["when"]["because"]) == (0, "capped: 100 messages a day")
    at = datetime.fromisoformat(found["when"]["at"])
    assert (at - timedelta(seconds=5)).date() in {datetime.now(UTC).date(), at.date()}
    assert at.hour == at.minute == 0


async def test_resolve_what_dispatchers_report_and_the_api_says_is_shown(database_url: str) -> None:
    """A rest that only the dispatcher knows counts; settings by API hold; the learnt provider chooses the queue."""
    async with pool_of(database_url, "127.0.0.1") as database:
        await report_policies(database, "main", load_policies())
        found = await answer("a@corp.example", database_url=database_url)
        assert found["policy"]["dispatchers_differ_in"] == []
        assert found["provider"] == {"name": "gmail", "by": "mx", "known_to_renderers": None}
        await database.execute("INSERT INTO recipient_domains (name, provider) VALUES ('corp.example', 'gmail')")
        await database.execute("INSERT INTO provider_policies VALUES ('gmail', $1)", {"connections": 7})
        await database.execute(
            "INSERT INTO lane_reports (pool, source_ip, lane, dispatcher, state, reason, next_try_at, waiting, "
            "connections, connection_limit, begun_per_s, begun_today) "
            "VALUES ('main', '127.0.0.1', 'gmail', 'd1', 'resting', 'nobody could connect', now() + interval '1 min', "
            "3, 0, 7, 0, 0)"
        )
        found = await answer("a@corp.example", database_url=database_url)
    assert found["queue"] == "dispatch.main.gmail"
    assert found["policy"]["connections"] == 7
    assert found["policy"]["by_api"] == {"gmail": ["connections"]}
    assert found["policy"]["dispatchers_differ_in"] == ["connections"]
    assert found["sources"][0]["state"] == "resting"
    assert found["when"]["because"] == "resting: nobody could connect"


async def test_resolve_suppressed_address_counts_tenants_and_names_none(database_url: str) -> None:
    """Suppressed by one of two tenants it goes for the other; by both, never; who they are is nobody's business."""
    async with pool_of(database_url, "127.0.0.1") as database:
        await database.execute("INSERT INTO tenants (slug, name) VALUES ('acme', 'Acme'), ('umbrella', 'Umbrella')")
        suppress = (
            "INSERT INTO suppressions (tenant_id, address_key, list_id, reason) "
            "SELECT id, 'taro@example.jp', 0, 'complaint' FROM tenants WHERE slug = $1"
        )
        await database.execute(suppress, "acme")
        ran = await resolve("Taro@example.jp", database_url=database_url)
        assert ran.code == 0
        assert ran.lines[-2:] == [
            "Suppressed: by 1 of 2 tenants wholly, by 0 for single lists",
            "Sent:       now, but not for the tenants that have suppressed it",
        ]
        await database.execute(suppress, "umbrella")
        ran = await resolve("Taro@example.jp", database_url=database_url)
    assert (ran.code, ran.lines[-1]) == (1, "Sent:       not at all, because every tenant has suppressed the address")
    assert not [line for line in ran.lines if "acme" in line.lower() or "umbrella" in line.lower()]


async def test_resolve_pool_must_be_clear_and_served(database_url: str) -> None:
    """Of several pools one must be named; one without a dispatcher, or that is not there, holds the mail."""
    async with pool_of(database_url, "127.0.0.1") as database, pool_of(database_url, "127.0.0.9", name="second"):
        ran = await resolve("a@example.jp", database_url=database_url)
        assert (ran.code, ran.error) == (1, "Error: name the pool with --pool: one of main, second")
        await database.execute("UPDATE pool_sources SET seen_at = now() - interval '1 hour' WHERE pool = 'second'")
        found = await answer("a@example.jp", "--pool", "second", database_url=database_url)
        because = "no source IP of the pool second may go there (127.0.0.9: no dispatcher has it in use)"
        assert (found["code"], found["when"]["because"]) == (1, because)
        found = await answer("a@example.jp", pool="third", database_url=database_url)
        assert (found["code"], found["when"]["because"]) == (1, "the pool third does not exist")


async def test_resolve_database_away_is_an_error_that_says_so() -> None:
    """No traceback, and nothing is guessed."""
    ran = await resolve("a@example.jp", "--pool", "main", database_url="postgresql://nobody@127.0.0.1:1/none")
    assert ran.code == 1
    assert ran.error.startswith("Error: the database of HAYABIN_DATABASE_URL cannot be had: ")
