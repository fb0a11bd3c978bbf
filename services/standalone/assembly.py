"""Puts a standalone run together: database, migrations, sandbox and services, each waited for.

Promises: inside ``running`` everything is ready; at its end, however it comes, everything is stopped in order and no
process stays. The folder's data, secrets and ports are those of the run before.
Fails: ``AlreadyRunning``, ``ChildFailed``, ``PostgresFailed`` or ``Unreachable``, each with a sentence for people.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from hayabin.database.migrate import upgrade
from services.standalone import postgres
from services.standalone.child import ChildSpec
from services.standalone.environment import PORTS, SERVICES, WAVES, Plan, environment_of
from services.standalone.kept import keep_ports, keep_secrets
from services.standalone.places import Places, hold, open_places
from services.standalone.reach import ServerUser, remove_data
from services.standalone.seed import create_pool
from services.standalone.settings import StandaloneSettings
from services.standalone.supervisor import Report, Supervisor

PROJECT = Path(__file__).parents[2]
"""The folder that has ``services`` and ``hayabin`` in it, where children find them."""


@dataclass(frozen=True, slots=True)
class Running:
    """A run that is up."""

    plan: Plan
    supervisor: Supervisor


@asynccontextmanager
async def running(
    root: Path, report: Report, *, fresh: bool = False, traced: bool = False, hurry: asyncio.Event | None = None
) -> AsyncIterator[Running]:
    """Database, sandbox and services, for the length of the block.

    ``fresh`` removes what earlier runs left in the folder; ``traced`` keeps all spans in a file; ``hurry`` makes the
    stop an immediate one.
    """
    places = open_places(root)
    with hold(places):
        if fresh:
            empty(places)
            open_places(root)
        secrets = keep_secrets(places.secrets)
        ports = keep_ports(places.ports, PORTS)
        report("preparing the database")
        server = await postgres.prepare(places, ports["postgres"], secrets.database_password)
        plan = Plan(places, secrets, ports, server.url(), StandaloneSettings(), traced)
        plan.trace_file.unlink(missing_ok=True)
        async with Supervisor(report, hurry) as supervisor:
            await supervisor.start([server.child(places.logs / "postgres.log")])
            await postgres.create_database(server)
            await asyncio.to_thread(upgrade, plan.database_url)
            await create_pool(plan.database_url)
            report(f"starting {len(SERVICES)} processes: {', '.join(SERVICES)}")
            async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
                await supervisor.start([service_child(service, plan, client) for service in SERVICES])
            yield Running(plan, supervisor)


def service_child(service: str, plan: Plan, client: httpx.AsyncClient) -> ChildSpec:
    """How the supervisor runs a service."""

    async def problem() -> str:
        try:
            answer = await client.get(plan.url(f"admin_{service}", "/readyz"))
        except httpx.HTTPError as error:
            return f"{type(error).__name__} at /readyz"
        return "" if answer.status_code == httpx.codes.OK else answer.text[:500]

    return ChildSpec(
        name=service,
        command=(sys.executable, "-m", *SERVICES[service]),
        environment=environment_of(service, plan),
        folder=PROJECT,
        log=plan.places.logs / f"{service}.log",
        ready=problem,
        wave=WAVES[service],
        user=ServerUser(os.geteuid(), os.getegid()),
    )


def empty(places: Places) -> None:
    """Remove everything that runs wrote into the folder, except the lock that we hold."""
    remove_data(places.postgres)
    for folder in (places.logs, places.sandbox):
        shutil.rmtree(folder, ignore_errors=True)
    for file in (places.secrets, places.ports):
        file.unlink(missing_ok=True)
