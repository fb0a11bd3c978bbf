"""The demo's door to Hayabin: the REST API, as any client uses it.

Promises: every POST carries an Idempotency-Key, so that a repeated one has one effect; an answer that says "later" (409
of a request in flight, 429, 503, each with Retry-After) is asked for again a few times.
Fails: ``RestFailed`` with the problem's own words.
"""

import asyncio
import secrets
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

TIMEOUT_S = 30.0
TRIES = 5
LATER_MAX_S = 10


class RestFailed(Exception):
    """The API refused, or did not answer."""

    def __init__(self, what: str, status: int, problem: Mapping[str, Any]) -> None:
        """Keep what was asked, the status and the problem document (RFC 9457)."""
        said = problem.get("detail") or problem.get("title") or "no explanation"
        super().__init__(f"{what}: {status} {said} {problem.get('errors', '')}".rstrip())
        self.status = status
        self.problem = problem


class Rest:
    """A client with one API key; use as ``async with Rest(url, key) as rest``."""

    def __init__(self, url: str, api_key: str) -> None:
        """Talk to ``url`` as the key's tenant."""
        headers = {"Authorization": f"Bearer {api_key}"}
        self._client = httpx.AsyncClient(base_url=url, headers=headers, timeout=TIMEOUT_S, trust_env=False)

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
        return await self._ask("GET", path, params=query)

    async def post(self, path: str, body: Mapping[str, Any] | None = None, **query: str | int) -> Any:
        """The JSON of a POST.

        Raises:
            RestFailed: see the module.
        """
        return await self._ask("POST", path, json=body, params=query, headers=_idempotent())

    async def upload(self, path: str, content: bytes, media_type: str, **query: str | int) -> Any:
        """The JSON of a POST of a file.

        Raises:
            RestFailed: see the module.
        """
        headers = {"Content-Type": media_type, **_idempotent()}
        return await self._ask("POST", path, content=content, params=query, headers=headers)

    async def _ask(self, method: str, path: str, **arguments: Any) -> Any:
        what = f"{method} {path}"
        for tries_left in reversed(range(TRIES)):
            try:
                answer = await self._client.request(method, path, **arguments)
            except httpx.HTTPError as error:
                raise RestFailed(what, 0, {"detail": f"{type(error).__name__}: {error}"}) from error
            later = answer.headers.get("retry-after", "")
            if not tries_left or answer.is_success or not later.isdecimal():
                break
            await asyncio.sleep(min(int(later), LATER_MAX_S))
        if answer.is_success:
            return answer.json() if answer.content else None
        try:
            problem = answer.json()
        except ValueError:
            problem = {"detail": answer.text[:300]}
        raise RestFailed(what, answer.status_code, problem)


def _idempotent() -> dict[str, str]:
    return {"Idempotency-Key": secrets.token_urlsafe(16)}
