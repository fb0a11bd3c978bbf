"""MTA-STS from DNS and HTTPS to the policy in force: what counts, what is kept, what cannot be suppressed."""

import asyncio

import pytest

from services.dispatcher.dns_lookup import DnsLookup
from services.dispatcher.mta_sts import FetchParameters, MtaSts, StsMode, StsParameters, StsPolicy
from services.dispatcher.sts_policy import MAX_POLICY_BYTES
from tests.support.self_signed import Authority, Identity, self_signed
from tests.support.sts_server import response
from tests.support.sts_world import CA, DAY_S, DOMAIN, HOST, text, world_of


async def test_policy_announced_and_served_in_force() -> None:
    """Record, certificate and policy are right: it holds, and the request named the policy host."""
    async with world_of() as world:
        policy = await world.sts.policy("Example.JP.")
        assert policy == StsPolicy(StsMode.ENFORCE, ("mx.example.jp",), "1")
        assert world.server.names == [HOST]
        request = world.server.requests[0]
        assert request.startswith(b"GET /.well-known/mta-sts.txt HTTP/1.1\r\n")
        assert f"Host: {HOST}:{world.server.port}\r\n".encode() in request
        assert b"Accept-Encoding: identity\r\n" in request
        assert world.shelf.kept[DOMAIN].expires_at_s == world.now_s + 7 * DAY_S


async def test_policy_domain_without_record_no_request() -> None:
    """Most domains have no MTA-STS: that costs one question in its TTL, and no connection."""
    async with world_of() as world:
        world.announce(None)
        for _ in range(3):
            assert await world.mode() is None
        assert world.zone.queries[f"_mta-sts.{DOMAIN}", "TXT"] == 1
        assert not world.server.requests


@pytest.mark.parametrize("domain", ["", "a..b", "[127.0.0.1]", "not a name", "x" * 64 + ".jp", "a." * 125 + "jp"])
async def test_policy_what_is_no_domain_none(domain: str) -> None:
    """A name that the DNS cannot have has no policy."""
    async with world_of() as world:
        assert await world.sts.policy(domain) is None
        assert not world.zone.queries


@pytest.mark.parametrize(
    "node",
    [
        {"TXT": ['"v=STSv1; id=1;"', '"v=STSv1; id=2;"']},
        {"TXT": '"v=STSv1; id=not-an-id;"'},
        {"TXT": '"v=spf1 -all"'},
        {"TXT": '"v=STSv1; id=\\255;"'},
        "SERVFAIL",
        "TIMEOUT",
    ],
)
async def test_policy_record_that_does_not_count_none(node: object) -> None:
    """Two records, a malformed one, another one or none that can be had: there is no policy, and no failure."""
    async with world_of() as world:
        world.zone.zone[f"_mta-sts.{DOMAIN}"] = node  # type: ignore[assignment]
        assert await world.mode() is None
        assert not world.server.requests


@pytest.mark.parametrize(
    "identity",
    [
        self_signed(HOST),
        CA.identity(["other.example.jp"]),
        CA.identity([DOMAIN]),
        CA.identity([], common_name=HOST),
        CA.identity([HOST], days=-3),
        Authority("Another").identity([HOST]),
    ],
    ids=["self-signed", "other name", "domain only", "common name only", "expired", "other CA"],
)
async def test_policy_server_not_verified_none(identity: Identity) -> None:
    """Whoever cannot show a valid certificate with the policy host's name cannot set a policy."""
    async with world_of(identity) as world:
        assert await world.mode() is None
        assert not world.shelf.kept


@pytest.mark.parametrize(
    "answer",
    [
        response("", status="404 Not Found"),
        response("", status="301 Moved Permanently", headers="Location: https://mta-sts.example.jp/other\r\n"),
        response(text(), status="203 Non-Authoritative Information"),
        response(text(), kind="text/html"),
        response(text(), kind=""),
        response(text(), headers="Content-Encoding: gzip\r\n"),
        response(text("bogus")),
        response(text() + "x: " + "y" * MAX_POLICY_BYTES),
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"4000\r\n" + b"x" * 0x4000 + b"\r\n",
        b"220 mx.example.jp ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 50_000,
        b"",
    ],
    ids=["404", "redirect", "203", "html", "no type", "gzip", "bad", "large", "cut", "no HTTP", "headers", "closed"],
)
async def test_policy_answer_that_is_none_refused(answer: bytes) -> None:
    """Anything but a plain 200 with a valid policy of text/plain is no policy; redirects are not followed."""
    async with world_of(answer=answer) as world:
        assert await world.mode() is None
        assert len(world.server.requests) == 1


@pytest.mark.parametrize("kind", ["text/plain; charset=utf-8", "TEXT/PLAIN", "text/plain;charset=us-ascii"])
async def test_policy_content_type_with_parameters_taken(kind: str) -> None:
    """Parameters of the type and its case do not matter."""
    async with world_of(answer=response(text(), kind=kind)) as world:
        assert await world.mode() == "enforce"


async def test_policy_server_stalls_bounded() -> None:
    """A policy host that takes a connection and says nothing holds nobody for longer than the limit."""
    async with world_of(timeout_s=0.3) as world:
        world.server.delay_s = 30
        async with asyncio.timeout(2):
            assert await world.mode() is None


async def test_policy_endless_answer_cut_off() -> None:
    """A policy host that never stops sending is left as soon as it sent more than a policy can have."""
    async with world_of(timeout_s=30.0) as world:
        world.server.answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"
        world.server.endless = True
        async with asyncio.timeout(5):
            assert await world.mode() is None


async def test_policy_host_in_private_space_not_connected() -> None:
    """A stranger's policy host cannot send us to our own machines."""
    async with world_of(allow_private=False) as world:
        assert await world.mode() is None
        assert not world.server.names


async def test_policy_host_second_address_tried() -> None:
    """Where one address of the policy host does not answer, the next one is asked."""
    async with world_of() as world:
        world.zone.zone[HOST] = {"A": ["127.0.0.77", "127.0.0.1"]}
        assert await world.mode() == "enforce"


async def test_policy_many_mails_one_fetch() -> None:
    """A thousand mails to a domain that is not known yet cost one question and one fetch."""
    async with world_of() as world:
        world.server.delay_s = 0.05
        found = await asyncio.gather(*(world.sts.policy(DOMAIN) for _ in range(1000)))
        assert {policy.mode if policy else None for policy in found} == {StsMode.ENFORCE}
        assert (len(world.server.requests), world.zone.queries[f"_mta-sts.{DOMAIN}", "TXT"]) == (1, 1)


async def test_policy_record_asked_again_after_ttl_policy_fetched_by_id() -> None:
    """The record is looked at when its TTL ends; the policy is fetched when the id is new, or after a day."""
    async with world_of(ttl=300) as world:
        assert await world.mode() == "enforce"
        assert await world.mode(after_s=299) == "enforce"
        assert world.zone.queries[f"_mta-sts.{DOMAIN}", "TXT"] == 1
        assert await world.mode(after_s=2) == "enforce"
        assert (world.zone.queries[f"_mta-sts.{DOMAIN}", "TXT"], len(world.server.requests)) == (2, 1)
        world.server.answer = response(text("testing"))
        assert await world.mode(after_s=301) == "enforce", "the id is the same: nobody looks"
        world.announce("2")
        assert await world.mode(after_s=301) == "testing"
        assert len(world.server.requests) == 2
        await world.mode(after_s=DAY_S)
        assert len(world.server.requests) == 3
        assert world.shelf.kept[DOMAIN].expires_at_s == world.now_s + 7 * DAY_S


@pytest.mark.parametrize("restart", [False, True], ids=["same process", "after a restart"])
@pytest.mark.parametrize("trouble", ["no record", "SERVFAIL", "two records", "new id, no server", "new id, bad policy"])
async def test_policy_suppressed_afterwards_stays_in_force(trouble: str, restart: bool) -> None:
    """Who can suppress record or policy from one day on does not get rid of what was fetched before, until it ends."""
    async with world_of() as world:
        assert await world.mode() == "enforce"
        match trouble:
            case "no record":
                world.announce(None)
            case "SERVFAIL":
                world.zone.zone[f"_mta-sts.{DOMAIN}"] = "SERVFAIL"
            case "two records":
                world.zone.zone[f"_mta-sts.{DOMAIN}"] = {"TXT": ['"v=STSv1; id=1;"', '"v=STSv1; id=2;"']}
            case "new id, no server":
                world.announce("2")
                world.server.answer = b""
            case _:
                world.announce("2")
                world.server.answer = response("mode: none")
        if restart:
            world.restart()
        assert await world.mode(after_s=2 * DAY_S) == "enforce"
        assert await world.mode(after_s=4 * DAY_S) == "enforce"
        assert await world.mode(after_s=2 * DAY_S) is None


async def test_policy_failed_fetch_not_repeated_for_minutes() -> None:
    """A policy host that is down is asked once in five minutes, not once a mail."""
    async with world_of(answer=b"") as world:
        for _ in range(3):
            assert await world.mode() is None
        assert len(world.server.requests) == 1
        world.server.answer = response(text())
        assert await world.mode(after_s=299) is None
        assert await world.mode(after_s=2) == "enforce"


async def test_policy_mode_none_withdraws() -> None:
    """A policy of mode none replaces the one before, and counts as none; it is not fetched again and again."""
    async with world_of() as world:
        assert await world.mode() == "enforce"
        world.announce("2")
        world.server.answer = response("version: STSv1\nmode: none\nmax_age: 86400\n")
        assert await world.mode(after_s=301) is None
        assert await world.mode(after_s=301) is None
        assert len(world.server.requests) == 2
        world.restart()
        assert await world.mode() is None


async def test_policy_after_restart_not_fetched_again() -> None:
    """What the store has of the same id serves; only the record is asked for."""
    async with world_of() as world:
        await world.mode()
        world.restart()
        assert await world.mode() == "enforce"
        assert len(world.server.requests) == 1


async def test_policy_short_age_ends_on_time() -> None:
    """A policy that lives for two minutes is over after two minutes, though the record's TTL is longer."""
    async with world_of(answer=response(text(max_age_s=120)), ttl=3600) as world:
        assert await world.mode() == "enforce"
        world.server.answer = b""
        assert await world.mode(after_s=119) == "enforce"
        assert await world.mode(after_s=2) is None


async def test_kept_policy_is_given_without_a_question_until_it_is_time_to_look_again() -> None:
    """It tells what is not known (nothing) from what is known not to be there (no policy)."""
    async with world_of() as world:
        assert world.sts.kept(DOMAIN) is None
        policy = await world.sts.policy(DOMAIN)
        assert policy is not None
        assert world.sts.kept("Example.JP.") == (policy,)
        assert await world.sts.policy("other.example.jp") is None
        assert world.sts.kept("other.example.jp") == (None,)
        world.now_s += 8 * DAY_S
        assert world.sts.kept(DOMAIN) is None


async def test_policy_cache_bounded() -> None:
    """A run over many domains does not fill the memory."""
    async with world_of() as world:
        lookup = DnsLookup((f"127.0.0.1:{world.zone.port}",), timeout_s=0.4)
        sts = MtaSts(lookup, StsParameters(cache_domains=10))
        for number in range(30):
            assert await sts.policy(f"d{number}.example") is None
        assert len(sts._known) == 10


async def test_policy_cancelled_waiter_does_not_disturb_others() -> None:
    """A mail that is given back while its policy is fetched leaves the fetch to the others."""
    async with world_of() as world:
        world.server.delay_s = 0.1
        first, second = (asyncio.create_task(world.sts.policy(DOMAIN)) for _ in range(2))
        await asyncio.sleep(0.03)
        first.cancel()
        assert await second is not None
        assert first.cancelled()


def test_mta_sts_unreadable_cas_refused_at_start() -> None:
    """A wrong file of CAs is a mistake at start, not a world without policies."""
    with pytest.raises(OSError, match="No such file"):
        MtaSts(DnsLookup(("127.0.0.1",), timeout_s=1), StsParameters(fetch=FetchParameters(ca_file="missing.pem")))
