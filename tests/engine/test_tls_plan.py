"""What a connection owes to TLS: DANE before MTA-STS before the provider's policy, printed as one table."""

import contextlib
from collections.abc import AsyncIterator

import pytest
from prometheus_client import REGISTRY

from hayabin.domain.policy import TlsMode
from hayabin.domain.smtp_reply import Reply
from services.dispatcher.dane import Dane, Tlsa
from services.dispatcher.dns_lookup import DnsLookup
from services.dispatcher.route import MxHost
from services.dispatcher.sts_policy import StsMode, StsPolicy
from services.dispatcher.tls_plan import HostRefused, PlanName, Proof, TlsPlan, TlsPlanner, TlsResult, plan_of_mode
from tests.support.dns_zone import DnsZone, Zone

NAME = "mx.example.jp"
DATA = b"\xab" * 32
GOOD = f"3 1 1 {DATA.hex()}"
UNUSABLE = f"1 1 1 {DATA.hex()}"


def sts(mode: StsMode, mx: str = NAME) -> StsPolicy:
    """Give a policy that names one host."""
    return StsPolicy(mode, (mx,), "1")


@contextlib.asynccontextmanager
async def planner_of(tlsa: str | None) -> AsyncIterator[TlsPlanner]:
    """Give a planner in a signed zone where ``tlsa`` is the host's record, or the fault that stands there."""
    zone: Zone = {NAME: {"A": "127.0.0.2"}}
    if tlsa is not None:
        zone[f"_25._tcp.{NAME}"] = {"TLSA": tlsa}
    async with DnsZone(zone, secure=["example.jp"]) as server:
        dane = Dane(DnsLookup((f"127.0.0.1:{server.port}",), timeout_s=0.3, trust_ad=True))
        yield TlsPlanner(dane)
        await dane.close()


def host(*, secure: bool = True) -> MxHost:
    """Give the MX host."""
    return MxHost(NAME, 10, ("127.0.0.2",), secure)


ENFORCE, TESTING = sts(StsMode.ENFORCE), sts(StsMode.TESTING)
STRANGER = sts(StsMode.TESTING, "other.example.jp")
N, O, R = TlsMode.NONE, TlsMode.OPPORTUNISTIC, TlsMode.REQUIRED  # noqa: E741 — a table is read by columns


@pytest.mark.parametrize(
    ("tlsa", "policy", "mode", "name", "floor", "proof"),
    [
        (None, None, N, "none", N, "nothing"),
        (None, None, O, "opportunistic", O, "nothing"),
        (None, None, R, "required", R, "nothing"),
        (None, ENFORCE, N, "mta-sts", R, "pkix"),
        (None, ENFORCE, O, "mta-sts", R, "pkix"),
        (None, ENFORCE, R, "mta-sts", R, "pkix"),
        (None, TESTING, N, "mta-sts-testing", N, "pkix"),
        (None, TESTING, O, "mta-sts-testing", O, "pkix"),
        (None, TESTING, R, "mta-sts-testing", R, "pkix"),
        (None, STRANGER, O, "mta-sts-testing", O, "nothing"),
        (GOOD, None, N, "dane", R, "dane"),
        (GOOD, None, O, "dane", R, "dane"),
        (GOOD, None, R, "dane", R, "dane"),
        (GOOD, ENFORCE, O, "dane", R, "dane"),
        (GOOD, sts(StsMode.ENFORCE, "other.example.jp"), O, "dane", R, "dane"),
        (GOOD, TESTING, N, "dane", R, "dane"),
        (UNUSABLE, None, N, "dane", R, "nothing"),
        (UNUSABLE, None, O, "dane", R, "nothing"),
        (UNUSABLE, ENFORCE, O, "dane", R, "pkix"),
        (UNUSABLE, TESTING, O, "dane", R, "nothing"),
    ],
)
async def test_plan_by_dane_then_sts_then_provider(
    tlsa: str | None, policy: StsPolicy | None, mode: TlsMode, name: str, floor: TlsMode, proof: str
) -> None:
    """The whole table of precedence; what DANE or ``enforce`` asks holds against a provider policy of none, too."""
    async with planner_of(tlsa) as planner:
        plan = await planner.plan(host(), mode, policy)
    assert (plan.name, plan.floor, plan.proof) == (name, floor, proof)
    assert plan.enforced is (name in {"required", "mta-sts", "dane"})
    assert plan.doubt is (TlsResult.FAILED_MX if policy is STRANGER else None)


async def test_plan_dane_names_and_records_of_the_host() -> None:
    """A plan of DANE has the usable records, and the names that a certificate below an anchor may have."""
    async with planner_of(GOOD) as planner:
        plan = await planner.plan(host(), TlsMode.OPPORTUNISTIC, None, domain="example.jp")
        assert (plan.tlsa, plan.names) == ((Tlsa(3, 1, 1, DATA),), (NAME, "example.jp"))
        assert (await planner.plan(host(), TlsMode.OPPORTUNISTIC, None, domain=NAME)).names == (NAME,)


async def test_plan_insecure_host_no_dane() -> None:
    """TLSA records of a host that DNSSEC does not vouch for are not looked at."""
    async with planner_of(GOOD) as planner:
        plan = await planner.plan(host(secure=False), TlsMode.OPPORTUNISTIC, None)
    assert plan == TlsPlan(PlanName.OPPORTUNISTIC, TlsMode.OPPORTUNISTIC)


@pytest.mark.parametrize(
    ("tlsa", "policy", "name", "result"),
    [
        ("SERVFAIL", None, "dane", TlsResult.FAILED_TLSA_LOOKUP),
        ("TIMEOUT", ENFORCE, "dane", TlsResult.FAILED_TLSA_LOOKUP),
        (None, sts(StsMode.ENFORCE, "other.example.jp"), "mta-sts", TlsResult.FAILED_MX),
        (UNUSABLE, sts(StsMode.ENFORCE, "*.mx.example.jp"), "mta-sts", TlsResult.FAILED_MX),
    ],
)
async def test_plan_host_that_may_not_be_used_refused_for_now(
    tlsa: str | None, policy: StsPolicy | None, name: str, result: TlsResult
) -> None:
    """An unanswered TLSA question and a host outside an enforced policy: not this host, not now; and it is counted."""
    labels = {"provider": "gmail", "policy": name, "result": result.value}
    before = REGISTRY.get_sample_value("hayabin_tls_sessions_total", labels) or 0.0
    async with planner_of(tlsa) as planner:
        with pytest.raises(HostRefused) as caught:
            await planner.plan(host(), TlsMode.NONE, policy, provider="gmail")
    refused = caught.value
    assert (refused.host, refused.result) == (NAME, result)
    assert (refused.verdict.permanent, refused.verdict.suppress) == (False, False)
    assert refused.reply == Reply(451, "4.7.5", f"{refused.detail} (nothing was sent)")
    assert REGISTRY.get_sample_value("hayabin_tls_sessions_total", labels) == before + 1


def test_plan_of_mode_provider_alone() -> None:
    """Where neither DANE nor MTA-STS speak, the plan is the provider's policy."""
    for mode in TlsMode:
        plan = plan_of_mode(mode)
        assert (plan.name.value, plan.floor, plan.proof) == (mode.value, mode, Proof.NOTHING)


def test_planner_unreadable_cas_refused_at_start() -> None:
    """A wrong file of CAs is a mistake at start."""
    with pytest.raises(OSError, match="No such file"):
        TlsPlanner(Dane(DnsLookup(("127.0.0.1",), timeout_s=1)), ca_file="missing.pem")
