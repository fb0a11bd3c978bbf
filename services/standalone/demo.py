"""``hayabin demo``: one campaign from contacts to report on embedded parts, checked by independent witnesses.

Promises: exit code 0 only if every finding holds; each run has a tenant of its own, so that runs in one folder do not
differ. Fails: exit code 1 with the sentence that says why, 130 when interrupted; everything is stopped either way.
"""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import click

from services.standalone.assembly import running
from services.standalone.campaign_run import run_follow_up, run_main
from services.standalone.failures import FAILURES
from services.standalone.findings import all_hold, check_follow_up, check_main, check_trace
from services.standalone.kept import keep_secrets, write_secrets
from services.standalone.report import show_findings, show_report, show_urls
from services.standalone.rest import Rest
from services.standalone.sample.make_contacts import ROWS
from services.standalone.scene import Scene
from services.standalone.screen import Screen
from services.standalone.seed import create_tenant
from services.standalone.signals import run_until_signal
from services.standalone.traces import launch_trace


@click.command("demo")
@click.option("--contacts", type=click.IntRange(100, ROWS), default=ROWS, show_default=True, help="Rows of the sample.")
@click.option("--state-dir", type=click.Path(path_type=Path), default=Path(".hayabin"), show_default=True)
@click.option("--fresh", is_flag=True, help="Remove what earlier runs left in the folder.")
@click.option("--stay", is_flag=True, help="Leave everything running until Ctrl-C, to look at it.")
def demo_command(contacts: int, state_dir: Path, fresh: bool, stay: bool) -> None:
    """Run the main job on this machine: contacts, campaign, delivery, report, checks."""
    screen = Screen()

    async def main(hurry: asyncio.Event) -> int:
        async with running(state_dir, screen.report, fresh=fresh, traced=True, hurry=hurry) as run:
            tenant = await create_tenant(run.plan.database_url, "demo")
            _keep_first_key(run.plan.places.secrets, tenant.api_key)
            async with Rest(run.plan.url("api"), tenant.api_key) as rest:
                holds = await _tell(Scene(run.plan, rest, screen, tenant), contacts)
            show_urls(screen, run.plan, tenant.api_key)
            if stay:
                screen.step("Everything stays up until Ctrl-C")
                await asyncio.Event().wait()
            else:
                screen.say("These end with the demo; `make up` brings them back with the same data.")
            screen.step("Stopping")
        screen.step("Everything holds" if holds else "Something does not hold: see the lines marked ✗")
        return 0 if holds else 1

    screen.step("Hayabin demo: starting everything on this machine")
    try:
        sys.exit(run_until_signal(main, when_interrupted=0 if stay else 130))
    except FAILURES as error:
        raise click.ClickException(str(error)) from error


async def _tell(scene: Scene, contacts: int) -> bool:
    """The two campaigns, the report and the findings."""
    main = await run_main(scene, contacts)
    follow_up = await run_follow_up(scene, main)
    show_report(scene.screen, main)
    trace = launch_trace(scene.plan.trace_file)
    findings = [*check_main(main), check_trace(trace), *check_follow_up(main, follow_up)]
    show_findings(scene.screen, findings)
    return all_hold(findings)


def _keep_first_key(path: Path, api_key: str) -> None:
    """Where `hayabin up` has no tenant yet, this one is what it will show."""
    kept = keep_secrets(path)
    if not kept.api_key:
        write_secrets(path, replace(kept, api_key=api_key))
