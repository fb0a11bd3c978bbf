"""What every test may ask for: a PostgreSQL, a RabbitMQ, and a database of its own with the schema in it.

Promises: nothing is started before a test asks for it; each server lives as long as the test session; each
``database_url`` is a fresh copy of one migrated template and is dropped after its test. The PostgreSQL of the session
does not wait for the disk, as nothing cuts its power. Files with slow tests are run first, so that of the workers that
run side by side (each has servers of its own) none is left alone with one of them.
"""

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from hypothesis import settings

from hayabin.database.migrate import upgrade
from tests.support.postgres import PostgresInstance, private_postgres
from tests.support.rabbitmq import RabbitInstance, private_rabbitmq

settings.register_profile("hayabin", deadline=None)  # how long an example takes says how busy the machine is
settings.load_profile("hayabin")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the files with slow tests to the front."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresInstance]:
    """The session's PostgreSQL; a test that stops or kills a server starts one of its own instead."""
    with private_postgres(fsync=False) as instance:
        yield instance


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitInstance]:
    """The session's RabbitMQ; a test that stops or kills a broker starts one of its own instead."""
    with private_rabbitmq() as instance:
        yield instance


@pytest.fixture(scope="session")
def postgres_url(postgres: PostgresInstance) -> str:
    """The URL of the session's PostgreSQL, as a user who may create databases."""
    return postgres.url


@pytest.fixture(scope="session")
def amqp_url(rabbitmq: RabbitInstance) -> str:
    """The URL of the session's RabbitMQ."""
    return rabbitmq.url


@pytest.fixture(scope="session")
def template_database(postgres_url: str) -> Iterator[str]:
    """The name of a database with every migration applied, to be copied."""
    with new_database(postgres_url) as name:
        upgrade(with_database(postgres_url, name))
        yield name


@pytest.fixture
def database_url(postgres_url: str, template_database: str) -> Iterator[str]:
    """The URL of a fresh database with the schema in it and no rows, as if migrated just now."""
    with new_database(postgres_url, template_database) as name:
        url = with_database(postgres_url, name)
        run(lambda: execute(url, "UPDATE installation SET pulsed_at = now()"))  # a copy is as silent as its template
        yield url


@contextmanager
def new_database(url: str, template: str = "template0") -> Iterator[str]:
    """Create a database with a random name and drop it afterwards, whoever is still connected."""
    name = f"hayabin_test_{secrets.token_hex(6)}"
    run(lambda: execute(url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    try:
        yield name
    finally:
        run(lambda: execute(url, f'DROP DATABASE "{name}" WITH (FORCE)'))


def with_database(url: str, name: str) -> str:
    """The same server's URL with another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def execute(url: str, statement: str) -> None:
    """Run one statement outside any transaction."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def run(work: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run a coroutine to its end in a thread, because the caller's thread may have a running event loop."""
    with ThreadPoolExecutor(1) as executor:
        executor.submit(lambda: asyncio.run(work())).result()
