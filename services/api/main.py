"""Entry of the image: ``python -m services.api.main serve | scheduler | admin … | audit … | parked … | people …``."""

import asyncio

import click

from hayabin.database.engine import Database
from hayabin.lifecycle import Process, run, serve_http
from services.api.admin import admin
from services.api.admin_audit import audit
from services.api.admin_people import people
from services.api.app import make_app
from services.api.parked import parked
from services.api.scheduler.main import run_scheduler
from services.api.scheduler.settings import SchedulerSettings
from services.api.settings import ApiSettings


@click.group()
def main() -> None:
    """Hayabin's API: the REST server and the scheduler."""


@main.command()
def serve() -> None:
    """Serve REST under /v1."""
    settings = ApiSettings()

    async def work(process: Process) -> None:
        async with Database(settings.database_url.get_secret_value(), name="api", size=16) as database:
            process.ready("database", database.healthy)
            app = make_app(settings, database)
            reading = asyncio.create_task(app.state.admission.read_for_ever(database.pool))
            try:
                await serve_http(app, settings.http_host, settings.http_port, process)
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    run("api", settings, work)


@main.command()
def scheduler() -> None:
    """Run the scheduler."""
    run_scheduler(SchedulerSettings())


main.add_command(admin)
main.add_command(audit)
main.add_command(parked)
main.add_command(people)

if __name__ == "__main__":
    main()
