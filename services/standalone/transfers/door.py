"""The REST API as the commands use it: streamed files, jobs that are followed to their end.

Promises: files go through memory in pieces; every POST has an Idempotency-Key, so that a repeated one has one effect;
an answer that says "later" (Retry-After) is asked for again a few times.
Fails: ``Refused`` with the problem's own words; ``Unreachable`` where nobody answers.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx

PIECE_BYTES: Final = 256 * 1024
POLL_S: Final = 0.5
TIMEOUT: Final = httpx.Timeout(60.0, read=960.0)
TRIES: Final = 5
LATER_MAX_S: Final = 30
ENDED: Final = frozenset({"completed", "failed", "cancelled", "expired", "preview"})


class Refused(Exception):
    """The API refused; the message says why and what to do."""


class Unreachable(Exception):
    """Nobody answers at the address."""


def opened(url: str, key: str) -> httpx.AsyncClient:
    """A client with an API key."""
    return httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT)


async def asked(client: httpx.AsyncClient, method: str, path: str, **arguments: Any) -> Any:
    """The JSON of an answer.

    Raises:
        Refused, Unreachable: see the module.
    """
    if method == "POST":
        arguments.setdefault("headers", {})["Idempotency-Key"] = secrets.token_urlsafe(16)
    for tries_left in reversed(range(TRIES)):
        try:
            answer = await client.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise Unreachable(f"{client.base_url}: {type(error).__name__} {error}".rstrip()) from error
        later = answer.headers.get("retry-after", "")
        if answer.is_success or not tries_left or not later.isdecimal() or "content" in arguments:
            break
        await asyncio.sleep(min(int(later), LATER_MAX_S))
    if not answer.is_success:
        raise Refused(_words(answer))
    return answer.json()


async def uploaded(
    client: httpx.AsyncClient, file: Path, size_bytes: int, query: Mapping[str, Any], sent: Callable[[int], object]
) -> dict[str, Any]:
    """Upload a file; ``sent`` is told the bytes of each piece."""

    async def pieces() -> AsyncIterator[bytes]:
        with file.open("rb") as opened_file:
            while piece := await asyncio.to_thread(opened_file.read, PIECE_BYTES):
                yield piece
                sent(len(piece))

    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size_bytes)}
    job: dict[str, Any] = await asked(
        client, "POST", "/v1/imports", content=pieces(), headers=headers, params=dict(query)
    )
    return job


async def followed(client: httpx.AsyncClient, path: str, seen: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """A job once it has ended; ``seen`` is told how far it is."""
    while True:
        job: dict[str, Any] = await asked(client, "GET", path)
        seen(job)
        if job["state"] in ENDED:
            return job
        await asyncio.sleep(POLL_S)


async def downloaded(client: httpx.AsyncClient, path: str, write: Callable[[bytes], object]) -> int:
    """Stream an answer to ``write``; returns its bytes."""
    size = 0
    try:
        async with client.stream("GET", path) as answer:
            if not answer.is_success:
                await answer.aread()
                raise Refused(_words(answer))
            async for piece in answer.aiter_bytes(PIECE_BYTES):
                await asyncio.to_thread(write, piece)
                size += len(piece)
    except httpx.HTTPError as error:
        raise Unreachable(f"{client.base_url}: {type(error).__name__} {error}".rstrip()) from error
    return size


def _words(answer: httpx.Response) -> str:
    try:
        problem = answer.json()
    except ValueError:
        return f"{answer.status_code}: {answer.text[:300]}"
    errors = "".join(f"\n  {error['pointer']}: {error['message']}" for error in problem.get("errors", []))
    return f"{answer.status_code} {problem.get('title', '')}: {problem.get('detail', '')}{errors}"
