"""``hayabin up``: everything on this machine until Ctrl-C; a second start finds its data again.

Promises: exit code 0 after Ctrl-C, with no process left. The first start makes a tenant with an API key, a verified
domain, a list with the sample's contacts and a published template; later starts leave all data alone.
Fails: exit code 1 with the sentence that says why.
"""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import click

from services.standalone import story
from services.standalone.assembly import running
from services.standalone.environment import POOL, Plan
from services.standalone.failures import FAILURES
from services.standalone.kept import write_secrets
from services.standalone.report import show_urls
from services.standalone.rest import Rest
from services.standalone.sample.make_contacts import ROWS
from services.standalone.scene import Scene
from services.standalone.screen import Screen
from services.standalone.seed import create_tenant
from services.standalone.signals import run_until_signal

CURL = """
  Try it: a contact of your own, a campaign to the list, and what became of it

  KEY={api_key}
  curl -s {api}/v1/contacts -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \\
       -d '{{"email": "taro@example.jp", "name": "見本 太郎"}}'
  curl -s {api}/v1/campaigns -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \\
       -d '{{"name": "first", "template_version_id": {version}, "list_id": {list}, "pool": "{pool}",
            "from_name": "早便茶舗", "from_address": "news@{domain}"}}'
  curl -s {api}/v1/campaigns/ID/launch -X POST -H "Authorization: Bearer $KEY" -H "Idempotency-Key: launch-1"
  curl -s {api}/v1/campaigns/ID/stats -H "Authorization: Bearer $KEY"

  Addresses such as unknown+1@example.jp, greylist+1@…, full+1@…, policy+1@…, returned+1@… and complaint+1@… make the
  sandbox behave as they say; accept+1@… always takes the mail.
"""


@click.command("up")
@click.option("--state-dir", type=click.Path(path_type=Path), default=Path(".hayabin"), show_default=True)
@click.option("--fresh", is_flag=True, help="Start over: remove what earlier runs left in the folder.")
def up_command(state_dir: Path, fresh: bool) -> None:
    """Start everything on this machine and stay; Ctrl-C stops it, the data stays."""
    screen = Screen()

    async def main(hurry: asyncio.Event) -> int:
        async with running(state_dir, screen.report, fresh=fresh, hurry=hurry) as run:
            api_key = run.plan.secrets.api_key or await _first_tenant(run.plan, screen)
            screen.step("Hayabin is up; Ctrl-C stops it")
            show_urls(screen, run.plan, api_key)
            screen.report(await _example(run.plan, api_key))
            try:
                await asyncio.Event().wait()
            finally:
                screen.step("Stopping")
        return 0

    screen.step("Hayabin: starting everything on this machine")
    try:
        status = run_until_signal(main, when_interrupted=0)
    except FAILURES as error:
        raise click.ClickException(str(error)) from error
    screen.step("Stopped; the data stays")
    sys.exit(status)


async def _example(plan: Plan, api_key: str) -> str:
    """What to type, with what is there; nothing where the tenant's things were removed."""
    async with Rest(plan.url("api"), api_key) as rest:
        lists, templates, domains = [
            (await rest.get(f"/v1/{kind}", limit=1))["items"] for kind in ("lists", "templates", "domains")
        ]
        if not (lists and templates and domains):
            return ""
        versions = (await rest.get(f"/v1/templates/{templates[0]['id']}"))["versions"]
    return CURL.format(
        api_key=api_key,
        api=plan.url("api"),
        list=lists[0]["id"],
        version=versions[0]["id"],
        domain=domains[0]["name"],
        pool=POOL,
    )


async def _first_tenant(plan: Plan, screen: Screen) -> str:
    """A tenant with something to begin with; its key is kept when all of that is there."""
    tenant = await create_tenant(plan.database_url, "sample")
    async with Rest(plan.url("api"), tenant.api_key) as rest:
        scene = Scene(plan, rest, screen, tenant)
        screen.step("First start: a list, a template and a verified domain to begin with")
        await story.import_contacts(rest, screen, "newsletter", story.sample(ROWS), ROWS)
        await story.publish_template(rest, "newsletter", "mjml", story.SUBJECT, story.newsletter())
        await story.verify_domain(rest, scene.domain, plan.places.sandbox)
    write_secrets(plan.places.secrets, replace(plan.secrets, api_key=tenant.api_key))
    return tenant.api_key
