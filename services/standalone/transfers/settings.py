"""Where the commands find Hayabin, and who they are: ``HAYABIN_API_URL``, ``HAYABIN_API_KEY``."""

import contextlib
from collections.abc import Iterator

import click
from pydantic import SecretStr, ValidationError

from hayabin.settings import Fragment
from services.standalone.transfers.door import Refused, Unreachable


class ApiClientSettings(Fragment):
    """A key has no default; ``hayabin admin create-key`` makes one."""

    api_url: str
    api_key: SecretStr


def api_settings() -> ApiClientSettings:
    """The settings, or a sentence about what is missing."""
    try:
        return ApiClientSettings()
    except ValidationError as error:
        names = ", ".join(f"HAYABIN_{str(item['loc'][0]).upper()}" for item in error.errors())
        raise click.UsageError(f"Set {names} in the environment (`hayabin admin create-key` makes a key).") from error


@contextlib.contextmanager
def exit_with_words() -> Iterator[None]:
    """Turn what the API says into a sentence and exit code 1."""
    try:
        yield
    except (Refused, Unreachable) as error:
        raise click.ClickException(str(error)) from error
