"""The report of the demo, as people read it."""

from collections.abc import Sequence

from rich.table import Table

from services.standalone.audit import Finding
from services.standalone.campaign_run import MainRun
from services.standalone.environment import Plan
from services.standalone.screen import Screen


def show_report(screen: Screen, run: MainRun) -> None:
    """The campaign's figures."""
    stats = run.stats
    table = Table(title="Report", title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(justify="right")
    table.add_column()
    table.add_row(str(stats["audience"]), f"audience ({run.imported.invalid} rows of the CSV were refused)")
    table.add_row(str(stats["accepted"]), f"accepted, {stats['accepted_after_retry']} of them after a deferral")
    table.add_row(str(stats["deferrals"]), "deferrals")
    table.add_row(str(stats["bounced"]), "bounced")
    for reason, count in sorted(stats["bounced_by_reason"].items(), key=lambda item: -item[1]):
        table.add_row("", f"{count:>5} {reason}")
    for name in ("render_failed", "suppressed", "cancelled", "expired", "unknown", "due"):
        table.add_row(str(stats[name]), name.replace("_", " "))
    table.add_row(str(stats["complained"]), "complained (accepted, then reported as spam)")
    table.add_row(str(stats["opened"]), f"opened ({stats['opens']} opens)")
    table.add_row(str(stats["clicked"]), f"clicked ({stats['clicks']} clicks)")
    table.add_row(str(stats["unsubscribed"]), "unsubscribed by one click")
    table.add_row(f"{run.emails_per_s:,.0f}", "emails per second, from the launch to the last first attempt")
    screen.console.print()
    screen.console.print(table)


def show_findings(screen: Screen, findings: Sequence[Finding]) -> None:
    """Each finding with its mark."""
    screen.console.print()
    for finding in findings:
        mark = "[green]✓[/green]" if finding.holds else "[red]✗[/red]"
        screen.console.print(f"{mark} ", end="")
        text = finding.text if finding.holds else f"{finding.text} {finding.detail}"
        screen.console.print(text, markup=False)


def show_urls(screen: Screen, plan: Plan, api_key: str) -> None:
    """Where to look."""
    screen.console.print()
    for what, url in (
        ("Sandbox mailbox", plan.url("mailbox", "/")),
        ("API reference", plan.url("api", "/docs")),
        ("REST", plan.url("api", "/v1")),
        ("Metrics of the dispatcher", plan.url("admin_dispatcher", "/metrics")),
        ("Logs", str(plan.places.logs)),
    ):
        screen.console.print(f"  {what:<26} {url}", markup=False)
    screen.console.print(f"  {'API key':<26} {api_key}", markup=False)
