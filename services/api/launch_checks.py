"""What a launch has to pass before anything is done: size, approvals, quotas, what the law wants shown.

Promises: nothing is written; the audience is counted at most once, and only where the form or a setting depends on it.
The same checks hold for a launch, a launch with an undo window and a schedule.
Fails: ``Problem`` 409 ``unexpected-audience``, ``legal-checks``, ``approval-needed``; 429 ``quota-exceeded``; 403.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from hayabin.database.audience_of import hold_segments
from hayabin.database.engine import Connection
from hayabin.domain.tenant_settings import LegalChecks, TenantSettings
from services.api import approving, legal_checks, quotas
from services.api.access import Principal, Scope, require_scope
from services.api.approving import Standing
from services.api.audience_size import AudienceSize, size_in_request
from services.api.legal_checks import Finding, Severity
from services.api.problems import Problem, not_found

_SUBJECT_SQL = """
SELECT c.*, t.settings AS tenant_settings FROM campaigns c JOIN tenants t ON t.id = c.tenant_id
WHERE c.id = $1 AND c.tenant_id = $2"""
_LOCKED_SQL = f"{_SUBJECT_SQL} FOR UPDATE OF c"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the caller says of the launch."""

    expected_count: int | None
    expected_within_percent: float | None
    override_legal_checks: bool
    sends_today: bool
    """False for a schedule, whose day's quota nobody knows yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found on the way."""

    size: AudienceSize | None
    findings: list[dict[str, Any]]
    overridden: bool


@dataclass(frozen=True, slots=True)
class Subject:
    """A campaign, as a whole row, and the settings of its tenant."""

    campaign: Mapping[str, Any]
    settings: TenantSettings


async def settings_of(connection: Connection, tenant_id: int) -> TenantSettings:
    """A tenant's settings."""
    stored = await connection.fetchval("SELECT settings FROM tenants WHERE id = $1", tenant_id)
    return TenantSettings.of(stored or {})


async def subject_of(connection: Connection, tenant_id: int, campaign_id: int, *, lock: bool = False) -> Subject:
    """A campaign and its tenant's settings, in one look; with ``lock`` nobody edits it until the transaction ends.

    Raises:
        Problem: 404.
    """
    row = await connection.fetchrow(_LOCKED_SQL if lock else _SUBJECT_SQL, campaign_id, tenant_id)
    if row is None:
        raise not_found("campaign")
    campaign = dict(row)
    return Subject(campaign, TenantSettings.of(campaign.pop("tenant_settings")))


async def require_all(connection: Connection, who: Principal, subject: Subject, wish: Wish) -> Checked:
    """Pass silently where the campaign may go out as it is.

    Raises:
        Problem: see the module.
    """
    campaign, settings = subject.campaign, subject.settings
    counts = (
        wish.expected_count is not None or approving.asks_for_audience(settings)
        or (wish.sends_today and quotas.has_quota(settings))
    )  # fmt: skip
    if counts:  # what is counted and approved is what will be launched
        await hold_segments(connection, campaign["id"])
    size = await size_in_request(connection, campaign) if counts else None
    if size is not None and wish.expected_count is not None:
        within = wish.expected_within_percent
        require_expected(
            size.audience, wish.expected_count, settings.expected_count_percent if within is None else within
        )
    findings, overridden = await _require_legal(connection, who, subject, override=wish.override_legal_checks)
    if size is not None:
        if approving.asks_for_audience(settings):
            require_approved(await approving.standing_of(connection, campaign, settings, size.audience))
        if wish.sends_today:
            try:
                await quotas.require_room(connection, who.tenant_id, settings, size.will_get)
            except quotas.QuotaExceeded as exceeded:
                raise exceeded.problem() from exceeded
    return Checked(size=size, findings=[asdict(finding) for finding in findings], overridden=overridden)


def require_expected(audience: int, expected: int, within_percent: float) -> None:
    """Pass silently where an audience is as large as expected.

    Raises:
        Problem: 409 with both numbers.
    """
    if abs(audience - expected) * 100 > Decimal(str(within_percent)) * expected:  # 2.3 % of 1000 are 23, not 22.99…
        raise Problem(
            409,
            "unexpected-audience",
            f"The audience is {audience}, which is not within {within_percent:g} % of the expected {expected}.",
            members={"audience": audience, "expected_count": expected, "expected_within_percent": within_percent},
        )


def require_approved(standing: Standing) -> None:
    """Pass silently where nobody else has to approve.

    Raises:
        Problem: 409 with what is missing.
    """
    if standing.missing:
        raise Problem(
            409,
            "approval-needed",
            standing.says,
            members={
                "hash": standing.hash.hex(),
                "audience": standing.audience,
                "needed": standing.needed,
                "missing": standing.missing,
            },
        )


async def _require_legal(
    connection: Connection, who: Principal, subject: Subject, *, override: bool
) -> tuple[list[Finding], bool]:
    """What the legal checks found, and whether that was overridden; refused where the tenant says so."""
    if override:
        require_scope(who, Scope.CAMPAIGNS_OVERRIDE)
    if subject.settings.legal_checks is LegalChecks.OFF:
        return [], False
    found = await legal_checks.findings(connection, subject.campaign)
    wrong = [finding for finding in found if finding.severity is Severity.ERROR]
    if not wrong or subject.settings.legal_checks is LegalChecks.WARN:
        return found, False
    if override:
        return found, True
    errors = [
        {
            "pointer": finding.pointer,
            "message": f"{finding.code}: {finding.message_en}",
            "message_ja": finding.message_ja,
        }
        for finding in wrong
    ]
    raise Problem(
        409,
        "legal-checks",
        "The mail lacks what the law wants shown. Mend it; who has the right campaigns:override may launch it as it is "
        "with `override_legal_checks`.",
        errors=errors,
    )
