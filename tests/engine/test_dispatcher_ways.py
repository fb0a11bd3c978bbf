"""The ways out of a dispatcher process: IPv6, SOCKS5, egress probes, MTA-STS, EAI, Japanese mobile addresses."""

import asyncio
from pathlib import Path
from typing import Any

from hayabin.broker.topology import dispatch_queue
from tests.engine.conftest import MakeWorld
from tests.engine.test_good_guest import people
from tests.support.engine_world import EngineWorld, mx_zone
from tests.support.mx_script import Listener
from tests.support.scripted_mx import ScriptedMx
from tests.support.socks5_proxy import Socks5Proxy, running
from tests.support.sts_server import StsServer, response
from tests.support.sts_world import CA, text
from tests.support.waiting import eventually


async def attempts(world: EngineWorld) -> dict[str, Any]:
    """The last attempt by address."""
    rows = await world.pool.fetch(
        "SELECT r.wire, a.* FROM attempts a JOIN recipients r USING (message_id) ORDER BY attempt"
    )
    return {row["wire"]: row for row in rows}


async def test_ipv6_source_delivers_to_ipv6_addresses_by_its_own_limits(make_world: MakeWorld) -> None:
    """With ::1 as second source IP, both families are used, each within its own limits; an AAAA-only host takes mail."""
    zone = {
        "both.example": {"MX": "10 mx.both.example."},
        "mx.both.example": {"A": "127.0.0.5", "AAAA": "::1"},
        "six.example": {"MX": "10 mx.six.example."},
        "mx.six.example": {"AAAA": "::1"},
    }
    ips = "127.0.0.77=a.hayabin.example,::1=six.hayabin.example"
    async with make_world(zone, Listener("127.0.0.5"), Listener("::1"), source_ips=ips) as world:
        world.policy("default", connections=4, connections_start=4, connection_spacing_s=0)
        with (world.folder / "default.toml").open("a") as file:
            file.write("[ipv6_overrides]\nconnections = 1\n")
        world.start()
        await world.send([*people(40, "both.example"), *people(10, "six.example")])
        states = await world.settled()
        assert set(states.values()) == {"accepted"}
        made = await attempts(world)
        assert {made[address]["source_ip"] for address in people(10, "six.example")} == {"::1"}
        assert world.mx.record.most_open_from["::1"] <= 2, "one to each of the two destinations"
        assert "six.hayabin.example" in {entry.ehlo for entry in world.mx.entries}


async def test_ipv6_only_host_without_ipv6_source_says_what_is_missing(make_world: MakeWorld) -> None:
    """Nothing of ours can go there: the row says so in words, and the address is not suppressed."""
    zone = {"six.example": {"MX": "10 mx.six.example."}, "mx.six.example": {"AAAA": "::1"}}
    async with make_world(zone, Listener("127.0.0.5")) as world:
        world.start()
        await world.send(["a@six.example"])
        assert await world.settled() == {"a@six.example": "bounced"}
        assert "no IPv6 source IP is configured" in (await attempts(world))["a@six.example"]["reply"]
        events = await world.pool.fetchval("SELECT count(*) FROM suppressions")
        assert events == 0


async def test_egress_probe_that_is_not_reached_keeps_the_dispatcher_from_consuming(make_world: MakeWorld) -> None:
    """Not ready and nothing taken while the probe does not greet; both as soon as it does."""
    async with make_world(mx_zone("gmail.com"), Listener("127.0.0.5")) as world:
        async with ScriptedMx(Listener("127.0.0.6", manners="drop connect")) as probe:
            service = world.system.launch(
                "dispatcher", **world.variables, egress_probes=f"127.0.0.6:{probe.port}", egress_timeout_s="1"
            )
            await world.send(people(5))
            await asyncio.sleep(4)
            assert not service.ready
            assert "does not reach out" in service.tail()
            queue = dispatch_queue(world.variables["pool"], "gmail")
            assert (await world.broker.depth([queue]))[queue] == 1
            port = probe.port
        async with ScriptedMx(Listener("127.0.0.6", port)):
            await asyncio.to_thread(world.system.wait_ready, service)
            assert set((await world.settled()).values()) == {"accepted"}


async def test_socks5_source_delivers_through_its_proxy(make_world: MakeWorld) -> None:
    """An IP that only the proxy owns: every mail leaves by it, and no secret is logged."""
    proxy = Socks5Proxy(source_ip="127.0.0.90", user="hayabin", password="open sesame")
    async with running(proxy), make_world(mx_zone("gmail.com"), Listener("127.0.0.5")) as world:
        service = await asyncio.to_thread(  # the proxy is in this process
            world.start,
            source_ips="127.0.0.90=proxied.hayabin.example",
            socks5_proxies=f"127.0.0.90=socks5://hayabin:open%20sesame@{proxy.proxy.host}:{proxy.proxy.port}",
        )
        await world.send(people(20))
        assert set((await world.settled()).values()) == {"accepted"}
        assert {(entry.peer_ip, entry.ehlo) for entry in world.mx.entries} == {
            ("127.0.0.90", "proxied.hayabin.example")
        }
        assert "sesame" not in service.log.read_text()


async def test_mta_sts_enforce_delivers_verified_or_not_at_all(make_world: MakeWorld, tmp_path: Path) -> None:
    """A domain that enforces gets its mail with a verified certificate; one whose MX shows another waits, with why."""
    zone = {
        **mx_zone("good.example", mx="mx.good.example"),
        **mx_zone("bad.example", mx="mx.bad.example", address="127.0.0.6"),
        "_mta-sts.good.example": {"TXT": '"v=STSv1; id=1;"'},
        "_mta-sts.bad.example": {"TXT": '"v=STSv1; id=1;"'},
        "mta-sts.good.example": {"A": "127.0.0.1"},
        "mta-sts.bad.example": {"A": "127.0.0.1"},
    }
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    identity = CA.identity(["mta-sts.good.example", "mta-sts.bad.example"])
    policy = text(mx="mx.good.example").replace("mx: ", "mx: mx.bad.example\nmx: ")
    async with (
        StsServer(identity, response(policy)) as https,
        make_world(
            zone,
            Listener("127.0.0.5", manners="starttls", identity=CA.identity(["mx.good.example"])),
            Listener("127.0.0.6", manners="starttls", name="mx.bad.example"),
            mta_sts="true",
            mta_sts_port=str(https.port),
            ca_file=str(tmp_path / "ca.pem"),
        ) as world,
    ):
        world.start()
        await world.send(["a@good.example", "a@bad.example"])
        states = await world.settled()
        assert states == {"a@good.example": "accepted", "a@bad.example": "deferred"}
        made = await attempts(world)
        good, bad = made["a@good.example"], made["a@bad.example"]
        assert (good["tls_policy"], good["tls_result"], good["tls"]) == ("mta-sts", "verified-pkix", True)
        assert (bad["reason"], bad["tls_policy"]) == ("tls", "mta-sts")
        assert bad["tls_result"] == "failed-certificate-not-trusted"
        assert [entry.rcpt_to for entry in world.mx.entries] == ["a@good.example"]
        assert await world.pool.fetchval("SELECT count(*) FROM mta_sts_policies WHERE mode = 'enforce'") == 2
        service = await eventually(
            lambda: world.pool.fetchval("SELECT lines FROM transcripts JOIN attempts USING (message_id) WHERE tls"),
            bool,
        )
        assert "mta-sts, verified-pkix" in service


async def test_address_of_another_script_needs_smtputf8_or_bounces_with_5_6_7(make_world: MakeWorld) -> None:
    """An EAI address goes to a server that has SMTPUTF8, and bounces with 5.6.7 where it lacks, unsuppressed."""
    zone = {
        **mx_zone("has.example", mx="mx.has.example"),
        **mx_zone("lacks.example", mx="mx.lacks.example", address="127.0.0.6"),
    }
    async with make_world(zone, Listener("127.0.0.5", manners="smtputf8"), Listener("127.0.0.6")) as world:
        world.start()
        await world.send(["花子@has.example", "花子@lacks.example"])
        assert await world.settled() == {"花子@has.example": "accepted", "花子@lacks.example": "bounced"}
        made = (await attempts(world))["花子@lacks.example"]
        assert (made["enhanced"], made["reason"]) == ("5.6.7", "eai_unsupported")
        assert any("SMTPUTF8" in command for command in world.mx.record.commands if command.startswith("MAIL"))


async def test_japanese_mobile_address_goes_in_the_form_of_its_provider(make_world: MakeWorld) -> None:
    """Quoted by default, bare where the policy says so; the mailbox is the one that suppressions are looked up for."""
    async with make_world(mx_zone("docomo.ne.jp", "ezweb.ne.jp"), Listener("127.0.0.5")) as world:
        world.policy("docomo", quiet_before_hour_s=0, quiet_after_hour_s=0)
        world.policy("au", quiet_before_hour_s=0, quiet_after_hour_s=0, dotted_local_part="bare")
        world.start()
        campaign_id = await world.campaign(['"a..b"@docomo.ne.jp', '".abc."@ezweb.ne.jp'])
        await world.pool.execute(
            "UPDATE messages SET address_key = replace(address_key, '\"', '') WHERE campaign_id = $1", campaign_id
        )
        await world.publish(campaign_id)
        assert set((await world.settled()).values()) == {"accepted"}
        assert {entry.rcpt_to for entry in world.mx.entries} == {'"a..b"@docomo.ne.jp', ".abc.@ezweb.ne.jp"}


async def test_mail_addressed_to_another_mailbox_than_the_ledgers_is_not_sent(make_world: MakeWorld) -> None:
    """A batch whose recipient is not whom the gate looked up reaches nobody, and says why."""
    async with make_world(mx_zone("ok.example"), Listener("127.0.0.5")) as world:
        campaign_id = await world.campaign(["a@ok.example", "b@ok.example"])
        await world.pool.execute("UPDATE messages SET address_key = 'c@ok.example' WHERE address_key = 'b@ok.example'")
        world.start()
        await world.publish(campaign_id)
        states = await world.settled()
        assert states == {"a@ok.example": "accepted", "b@ok.example": "bounced"}
        assert "another mailbox" in (await attempts(world))["b@ok.example"]["reply"]
        assert [entry.rcpt_to for entry in world.mx.entries] == ["a@ok.example"]
