"""What the commands that are clients of the API share: who they are, and how they end.

Promises: exit code 0: done; 1: the API refused, nobody answers, or a file could not be written, and a sentence says so;
2: the command itself was wrong. Ctrl-C ends with 1 and without a trace; what was printed until then is whole lines.
"""

import asyncio
import contextlib
import errno
from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated, TypeVar

import click
import httpx
from pydantic import AfterValidator, SecretStr, ValidationError

from hayabin.settings import Fragment
from services.standalone.rest import RestFailed, opened
from services.standalone.showing import plain

T = TypeVar("T")
Work = Callable[[httpx.AsyncClient], Awaitable[T]]


def _key(value: SecretStr) -> SecretStr:
    key = value.get_secret_value().strip()
    if not key or not key.isascii() or not key.isprintable():
        raise ValueError("a key is printable ASCII")
    return SecretStr(key)


class ApiClientSettings(Fragment):
    """A key has no default; ``hayabin admin create-key`` makes one."""

    api_url: str
    api_key: Annotated[SecretStr, AfterValidator(_key)]


def over_rest(work: Work[T]) -> T:
    """What ``work`` gives with a client of the API.

    Raises:
        click.UsageError: the environment does not say where the API is, or who we are.
        click.ClickException: see the module.
    """
    settings = _settings()

    async def run() -> T:
        async with opened(settings.api_url, settings.api_key.get_secret_value()) as client:
            return await work(client)

    with exit_with_words():
        return asyncio.run(run())


@contextlib.contextmanager
def exit_with_words() -> Iterator[None]:
    """Turn what the API or the system says into a sentence and exit code 1.

    Raises:
        click.UsageError, click.ClickException: see the module.
    """
    try:
        yield
    except RestFailed as error:
        raise click.ClickException("\n".join(plain(line) for line in str(error).split("\n"))) from error
    except UnicodeEncodeError as error:
        raise click.UsageError("something that was typed is no text in the terminal's encoding") from error
    except OSError as error:
        if error.errno == errno.EPIPE:  # whoever read us has enough: click ends quietly
            raise
        raise click.ClickException(f"{error.filename or 'a file'}: {error.strerror or error}") from error


def _settings() -> ApiClientSettings:
    try:
        return ApiClientSettings()
    except ValidationError as error:
        names = ", ".join(f"HAYABIN_{str(item['loc'][0]).upper()}" for item in error.errors())
        raise click.UsageError(f"Set {names} in the environment (`hayabin admin create-key` makes a key).") from None
