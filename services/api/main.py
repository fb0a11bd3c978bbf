"""Entry of the image: ``python -m services.api.main serve | scheduler | admin …``."""

import click

from hayabin.database.engine import Database
from hayabin.lifecycle import Process, run, serve_http
from services.api.admin import admin
from services.api.app import make_app
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
            process.ready("database", lambda: database.pool.fetchval("SELECT true"))
            await serve_http(make_app(settings, database), settings.http_host, settings.http_port, process)

    run("api", settings, work)


@main.command()
def scheduler() -> None:
    """Run the scheduler."""
    run_scheduler(SchedulerSettings())


main.add_command(admin)

if __name__ == "__main__":
    main()
