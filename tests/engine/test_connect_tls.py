"""A session keeps its TLS plan against servers of every kind, and says what became of it."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop
from prometheus_client import REGISTRY

from hayabin.domain.bounce_reason import BounceReason
from hayabin.domain.policy import TlsMode
from hayabin.domain.smtp_reply import SmtpPhase
from services.dispatcher.connect import ConnectFailure, Target, open_session
from services.dispatcher.dane import Tlsa
from services.dispatcher.dane_match import public_key_info
from services.dispatcher.smtp_session import Envelope, SmtpSession, SmtpTimeouts
from services.dispatcher.tls_plan import PlanName, Proof, TlsPlan, TlsResult, plan_of_mode
from tests.support.scripted_mx import Listener, ScriptedMx
from tests.support.self_signed import Authority, Identity, self_signed

NAME = "mx.example.jp"
CA = Authority()
GOOD = CA.identity([NAME])
LONE = self_signed(NAME)
MAIL = Envelope("b@example.jp", "a@example.com", b"Subject: x\r\n\r\n")
QUICK = SmtpTimeouts(greeting_s=0.5, quit_s=0.2)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def on_loop(request: pytest.FixtureRequest) -> Iterator[Callable[..., object]]:
    """Run a coroutine on either loop: the dispatcher's and the standard one."""
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run


@pytest.fixture
def ca_file(tmp_path: Path) -> str:
    """A file with the CA that the tests trust."""
    path = tmp_path / "ca.pem"
    path.write_bytes(CA.pem)
    return str(path)


def sts_plan(ca_file: str, testing: TlsMode | None = None) -> TlsPlan:
    """Give a plan of MTA-STS: enforce, or testing above a provider's policy."""
    if testing is None:
        return TlsPlan(PlanName.MTA_STS, TlsMode.REQUIRED, Proof.PKIX, ca_file=ca_file)
    return TlsPlan(PlanName.MTA_STS_TESTING, testing, Proof.PKIX, ca_file=ca_file)


def dane_plan(*records: Tlsa) -> TlsPlan:
    """Give a plan of DANE."""
    return TlsPlan(PlanName.DANE, TlsMode.REQUIRED, Proof.DANE, records, (NAME,))


def of_key(certificate: bytes, usage: int = 3) -> Tlsa:
    """Describe a certificate's key."""
    return Tlsa(usage, 1, 1, hashlib.sha256(public_key_info(certificate)).digest())


def target(port: int, plan: TlsPlan, **fields: object) -> Target:
    """Go to loopback, without patience."""
    fields = {"source_ip": "127.0.0.8", "connect_timeout_s": 0.5, "timeouts": QUICK, "plan": plan} | fields
    return Target(NAME, "127.0.0.1", port, "mta.example.jp", **fields)  # type: ignore[arg-type]


def counted(policy: str, result: str, provider: str = "other") -> float:
    """Read the counter."""
    labels = {"provider": provider, "policy": policy, "result": result}
    return REGISTRY.get_sample_value("hayabin_tls_sessions_total", labels) or 0.0


async def talk(plan: TlsPlan, identity: Identity | None, manners: str = "starttls") -> tuple[SmtpSession, ScriptedMx]:
    """Send one mail; give session and server."""
    async with ScriptedMx(Listener(manners=manners, identity=identity)) as mx:
        session = await open_session(target(mx.port, plan))
        assert (await session.send(MAIL)).accepted
        await session.quit()
        return session, mx


async def refusal(plan: TlsPlan, identity: Identity | None, manners: str = "starttls") -> tuple[ConnectFailure, int]:
    """Fail to get a session; give the failure and the number of connections, none of which saw a mail."""
    async with ScriptedMx(Listener(manners=manners, identity=identity)) as mx:
        with pytest.raises(ConnectFailure) as caught:
            await open_session(target(mx.port, plan))
        assert not any(command.startswith("MAIL") for command in mx.record.commands)
        return caught.value, mx.record.connections


def test_session_mta_sts_certificate_verified(on_loop: Callable[..., object], ca_file: str) -> None:
    """Under ``enforce`` a valid certificate with the host's name gives a verified session, and the server saw TLS."""

    async def run() -> None:
        before = counted("mta-sts", "verified-pkix")
        session, mx = await talk(sts_plan(ca_file), GOOD)
        assert (session.peer.tls_policy, session.peer.tls_result) == ("mta-sts", "verified-pkix")
        assert session.peer.tls in {"TLSv1.2", "TLSv1.3"}
        assert mx.entries[0].tls
        assert counted("mta-sts", "verified-pkix") == before + 1

    on_loop(run())


@pytest.mark.parametrize(
    ("identity", "result"),
    [
        (LONE, TlsResult.FAILED_TRUST),
        (Authority("Another").identity([NAME]), TlsResult.FAILED_TRUST),
        (CA.identity(["other.example.jp"]), TlsResult.FAILED_NAME),
        (CA.identity(["*.jp"]), TlsResult.FAILED_NAME),
        (CA.identity([], common_name=NAME), TlsResult.FAILED_NAME),
        (CA.identity([NAME], days=-3), TlsResult.FAILED_EXPIRED),
    ],
    ids=["self-signed", "other CA", "other name", "wide wildcard", "common name only", "expired"],
)
async def test_session_mta_sts_unverified_never_used(identity: Identity, result: TlsResult, ca_file: str) -> None:
    """Under ``enforce`` no mail goes to a server that cannot prove its name; it fails for now, with the reason."""
    before = counted("mta-sts", result)
    failure, connections = await refusal(sts_plan(ca_file), identity)
    assert (failure.phase, failure.reason, failure.tls_result) == (SmtpPhase.STARTTLS, BounceReason.TLS, result)
    assert not failure.verdict.permanent
    assert connections == 1
    assert counted("mta-sts", result) == before + 1


async def test_session_mta_sts_wildcard_certificate_taken(ca_file: str) -> None:
    """A certificate for all hosts of the domain is one for this host."""
    session, _ = await talk(sts_plan(ca_file), CA.identity(["*.example.jp"]))
    assert session.peer.tls_result == "verified-pkix"


@pytest.mark.parametrize(
    ("manners", "result"),
    [
        ("", TlsResult.FAILED_STARTTLS),
        ("starttls; reject starttls 454 4.7.0 not now", TlsResult.FAILED_HANDSHAKE),
        ("starttls; drop starttls", TlsResult.FAILED_HANDSHAKE),
        ("starttls; stall starttls", TlsResult.FAILED_HANDSHAKE),
        ("starttls; babble starttls", TlsResult.FAILED_HANDSHAKE),
        ("helo-only", TlsResult.FAILED_STARTTLS),
    ],
)
@pytest.mark.parametrize("name", ["required", "mta-sts", "dane"])
async def test_session_enforced_without_tls_never_in_clear(
    name: str, manners: str, result: TlsResult, ca_file: str
) -> None:
    """What a man in the middle can do to STARTTLS does not get him a mail in clear where the plan enforces TLS."""
    plans = {
        "required": plan_of_mode(TlsMode.REQUIRED),
        "mta-sts": sts_plan(ca_file),
        "dane": dane_plan(of_key(GOOD.der[0])),
    }
    failure, connections = await refusal(plans[name], GOOD, manners)
    assert (failure.phase, failure.tls_result, connections) == (SmtpPhase.STARTTLS, result, 1)


def test_session_dane_certificate_matched(on_loop: Callable[..., object]) -> None:
    """A self-signed certificate is as good as any if its key is in the DNS; so is one below an anchor."""

    async def run() -> None:
        for identity, tlsa in ((LONE, of_key(LONE.der[0])), (GOOD, of_key(CA.der, usage=2))):
            session, mx = await talk(dane_plan(tlsa), identity)
            assert (session.peer.tls_policy, session.peer.tls_result) == ("dane", "verified-dane")
            assert mx.entries[0].tls

    on_loop(run())


def test_session_dane_mismatch_never_used(on_loop: Callable[..., object]) -> None:
    """A valid certificate that is not the one in the DNS is somebody else's."""

    async def run() -> None:
        failure, connections = await refusal(dane_plan(of_key(LONE.der[0])), GOOD)
        assert (failure.reason, failure.tls_result) == (BounceReason.TLS, TlsResult.FAILED_DANE)
        assert (connections, failure.verdict.permanent) == (1, False)

    on_loop(run())


async def test_session_dane_without_usable_record_any_certificate() -> None:
    """Records that are all unusable ask for TLS, and prove nothing."""
    session, _ = await talk(TlsPlan(PlanName.DANE, TlsMode.REQUIRED), LONE)
    assert (session.peer.tls_policy, session.peer.tls_result) == ("dane", "unverified")


@pytest.mark.parametrize(
    ("identity", "manners", "result", "encrypted", "connections"),
    [
        (GOOD, "starttls", "verified-pkix", True, 1),
        (LONE, "starttls", "failed-certificate-not-trusted", True, 2),
        (CA.identity(["x.example"]), "starttls", "failed-certificate-host-mismatch", True, 2),
        (CA.identity([NAME], days=-3), "starttls", "failed-certificate-expired", True, 2),
        (GOOD, "", "failed-starttls-not-supported", False, 1),
        (GOOD, "starttls; drop starttls", "failed-handshake", False, 2),
        (GOOD, "starttls; reject starttls 454 4.7.0 no", "failed-handshake", False, 2),
    ],
)
async def test_session_mta_sts_testing_delivers_and_tells(
    identity: Identity, manners: str, result: str, encrypted: bool, connections: int, ca_file: str
) -> None:
    """Under ``testing`` the mail goes as it would without a policy, and what the policy would have said is counted."""
    before = counted("mta-sts-testing", result)
    session, mx = await talk(sts_plan(ca_file, TlsMode.OPPORTUNISTIC), identity, manners)
    assert (session.peer.tls_policy, session.peer.tls_result) == ("mta-sts-testing", result)
    assert (session.peer.tls is not None, mx.record.connections) == (encrypted, connections)
    assert counted("mta-sts-testing", result) == before + 1


async def test_session_mta_sts_testing_host_outside_policy_told() -> None:
    """Under ``testing`` a host that the policy does not name takes the mail; the result says it."""
    plan = TlsPlan(PlanName.MTA_STS_TESTING, TlsMode.OPPORTUNISTIC, doubt=TlsResult.FAILED_MX)
    session, mx = await talk(plan, LONE)
    assert session.peer.tls_result == "failed-mx-not-in-policy"
    assert (mx.entries[0].tls, mx.record.connections) == (True, 1)


async def test_session_mta_sts_testing_keeps_required_floor(ca_file: str) -> None:
    """Under ``testing`` the provider's policy still holds: required TLS is never done without."""
    session, _ = await talk(sts_plan(ca_file, TlsMode.REQUIRED), LONE)
    assert (session.peer.tls_result, session.peer.tls is not None) == ("failed-certificate-not-trusted", True)
    failure, connections = await refusal(sts_plan(ca_file, TlsMode.REQUIRED), LONE, "starttls; drop starttls")
    assert (failure.tls_result, connections) == (TlsResult.FAILED_HANDSHAKE, 1)


@pytest.mark.parametrize(
    ("mode", "manners", "result"),
    [
        (TlsMode.NONE, "starttls", "cleartext"),
        (TlsMode.OPPORTUNISTIC, "", "cleartext"),
        (TlsMode.OPPORTUNISTIC, "starttls", "unverified"),
        (TlsMode.OPPORTUNISTIC, "starttls; drop starttls", "cleartext"),
        (TlsMode.REQUIRED, "starttls", "unverified"),
    ],
)
async def test_session_provider_policy_result_told(mode: TlsMode, manners: str, result: str) -> None:
    """Where the provider's policy alone decides, the session says whether it is encrypted; nothing is verified."""
    session, _ = await talk(plan_of_mode(mode), LONE, manners)
    assert (session.peer.tls_policy, session.peer.tls_result) == (mode.value, result)


async def test_session_provider_is_a_label() -> None:
    """Sessions are counted for their provider."""
    before = counted("none", "cleartext", "gmail")
    async with ScriptedMx(Listener()) as mx:
        session = await open_session(target(mx.port, plan_of_mode(TlsMode.NONE), provider="gmail"))
        await session.quit()
    assert counted("none", "cleartext", "gmail") == before + 1
