"""The REST API as the commands and the demo use it.

Promises: every POST carries an Idempotency-Key, so that a repeated one has one effect; an answer that says "later" (409
of a request in flight, 429, 503, each with Retry-After) is asked for again a few times, unless later is much later. A
page is asked for when its rows are wanted. No message has the key in it.
Fails: ``Refused`` with the problem's own words; ``Unreachable`` where nobody answers, or somebody who is no Hayabin.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Final, Self

import httpx

TIMEOUT_S: Final = 60.0
TRIES: Final = 5
LATER_MAX_S: Final = 30
PAGE_ROWS: Final = 500
_WORDS_MAX_CHARS: Final = 300


class RestFailed(Exception):
    """The API did not do what was asked; the message says why."""


class Refused(RestFailed):
    """The API said no: a problem document (RFC 9457), or what stands before the API said something else."""

    def __init__(self, answer: httpx.Response) -> None:
        """Keep the status, and the places that are wrong."""
        problem = _json_of(answer)
        self.status = answer.status_code
        self.errors: list[Mapping[str, Any]] = []
        if not isinstance(problem, dict):
            super().__init__(f"{self.status}: {answer.text[:_WORDS_MAX_CHARS]}")
            return
        self.errors = [error for error in problem.get("errors") or [] if isinstance(error, dict)]
        places = "".join(f"\n  {error.get('pointer', '')}: {error.get('message', '')}" for error in self.errors)
        super().__init__(f"{self.status} {problem.get('title', '')}: {problem.get('detail', '')}{places}")


class Unreachable(RestFailed):
    """Nobody answers at the address, or no Hayabin does."""

    @classmethod
    def by(cls, client: httpx.AsyncClient, error: httpx.HTTPError) -> Self:
        """Say where, and what became of it."""
        return cls(f"{client.base_url}: {type(error).__name__} {error}".rstrip())


def opened(url: str, key: str, *, trust_env: bool = True) -> httpx.AsyncClient:
    """A client with an API key.

    Raises:
        Unreachable: the URL is none.
    """
    headers = {"Authorization": f"Bearer {key}"}
    try:
        return httpx.AsyncClient(base_url=url, headers=headers, timeout=TIMEOUT_S, trust_env=trust_env)
    except httpx.InvalidURL as error:
        raise Unreachable(f"{url}: {error}") from error


async def asked(client: httpx.AsyncClient, method: str, path: str, **arguments: Any) -> Any:
    """The JSON of an answer; None where it has no body.

    Raises:
        Refused, Unreachable: see the module.
    """
    if method == "POST":
        arguments["headers"] = {"Idempotency-Key": secrets.token_urlsafe(16), **arguments.get("headers", {})}
    is_stream = not isinstance(arguments.get("content", b""), bytes)
    for tries_left in reversed(range(1 if is_stream else TRIES)):
        try:
            answer = await client.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise Unreachable.by(client, error) from error
        later = answer.headers.get("retry-after", "")
        if answer.is_success or not tries_left or not later.isdecimal() or int(later) > LATER_MAX_S:
            break
        await asyncio.sleep(int(later))
    if not answer.is_success:
        raise Refused(answer)
    found = _json_of(answer) if answer.content else None
    if answer.content and found is None:
        raise Unreachable(f"{client.base_url}: what answers there is no Hayabin ({answer.status_code}, no JSON)")
    return found


async def paged(
    client: httpx.AsyncClient, path: str, limit: int | None, query: Mapping[str, Any]
) -> AsyncIterator[list[dict[str, Any]]]:
    """Pages of rows, of no more than ``limit`` rows in all; None: of all that there are.

    What is None in ``query`` is not said.

    Raises:
        Refused, Unreachable: see the module.
    """
    said = {name: value for name, value in query.items() if value is not None}
    left = limit
    while left is None or left > 0:
        said["limit"] = PAGE_ROWS if left is None else min(left, PAGE_ROWS)
        page = await asked(client, "GET", path, params=said)
        yield page["items"]
        if page["next_cursor"] is None:
            return
        said["cursor"] = page["next_cursor"]
        left = None if left is None else left - len(page["items"])


class Rest:
    """The demo's client, which no proxy stands before; use as ``async with Rest(url, key) as rest``."""

    def __init__(self, url: str, api_key: str) -> None:
        """Talk to ``url`` as the key's tenant."""
        self._client = opened(url, api_key, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def get(self, path: str, **query: str | int) -> Any:
        """The JSON of a GET.

        Raises:
            RestFailed: see the module.
        """
        return await asked(self._client, "GET", path, params=query)

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON of a POST.

        Raises:
            RestFailed: see the module.
        """
        return await asked(self._client, "POST", path, json=body)

    async def upload(self, path: str, content: bytes, media_type: str, **query: str | int) -> Any:
        """The JSON of a POST of a file.

        Raises:
            RestFailed: see the module.
        """
        headers = {"Content-Type": media_type}
        return await asked(self._client, "POST", path, content=content, params=query, headers=headers)


def _json_of(answer: httpx.Response) -> Any:
    """What an answer says in JSON; None where it says none."""
    try:
        return answer.json()
    except ValueError:
        return None
