"""Files to and from the API, and the jobs that make something of them.

Promises: a file goes through memory in pieces, and appears under its name once it is whole. A job is followed through
restarts of the API and trouble of its own (5xx), for ``SILENCE_S``. Progress is told to a terminal alone.
Fails: as ``rest`` says; ``OSError`` where a file cannot be read or written.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click
import httpx

from services.standalone.rest import Refused, RestFailed, Unreachable, asked

PIECE_BYTES: Final = 256 * 1024
POLL_S: Final = 0.5
SILENCE_S: Final = 120.0
ANSWER_S: Final = 960.0
"""An upload is answered when all of it is read: the API gives it 900 s."""
STANDARD_OUTPUT: Final = Path("-")
ENDED: Final = frozenset({"completed", "failed", "cancelled", "expired", "preview"})


async def uploaded(
    client: httpx.AsyncClient, file: Path, size_bytes: int, query: Mapping[str, Any], sent: Callable[[int], object]
) -> dict[str, Any]:
    """Upload a file to be imported; ``sent`` is told the bytes of each piece."""

    async def pieces() -> AsyncIterator[bytes]:
        with file.open("rb") as opened_file:
            while piece := await asyncio.to_thread(opened_file.read, PIECE_BYTES):
                yield piece
                sent(len(piece))

    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size_bytes)}
    job: dict[str, Any] = await asked(
        client, "POST", "/v1/imports", content=pieces(), headers=headers, params=dict(query), timeout=ANSWER_S
    )
    return job


async def followed(client: httpx.AsyncClient, path: str, told: Callable[[dict[str, Any]], str]) -> dict[str, Any]:
    """A job once it has ended; ``told`` says in a line how far it is."""
    clock = asyncio.get_running_loop().time
    heard_at = clock()
    while True:
        try:
            job: dict[str, Any] = await asked(client, "GET", path)
        except RestFailed as error:
            is_over = isinstance(error, Refused) and error.status < httpx.codes.INTERNAL_SERVER_ERROR
            if is_over or clock() - heard_at > SILENCE_S:
                raise
        else:
            heard_at = clock()
            ended = job["state"] in ENDED
            if sys.stderr.isatty():
                click.echo(f"\r\x1b[K{told(job)}", nl=ended, err=True)
            if ended:
                return job
        await asyncio.sleep(POLL_S)


async def saved(client: httpx.AsyncClient, path: str, output: Path, query: Mapping[str, Any] | None = None) -> None:
    """Put an answer into a file, or print it (``STANDARD_OUTPUT``)."""
    said = {name: value for name, value in (query or {}).items() if value is not None}
    if output == STANDARD_OUTPUT:
        await _downloaded(client, path, said, sys.stdout.buffer.write)
        sys.stdout.buffer.flush()
        return
    partial = output.with_name(f"{output.name}.part")
    try:
        with partial.open("wb") as file:
            size = await _downloaded(client, path, said, file.write)
        partial.rename(output)
    finally:
        partial.unlink(missing_ok=True)
    click.echo(f"{output}: {size} bytes", err=True)


async def _downloaded(
    client: httpx.AsyncClient, path: str, query: Mapping[str, Any], write: Callable[[bytes], object]
) -> int:
    size = 0
    try:
        async with client.stream("GET", path, params=query) as answer:
            if not answer.is_success:
                await answer.aread()
                raise Refused(answer)
            async for piece in answer.aiter_bytes(PIECE_BYTES):
                await asyncio.to_thread(write, piece)
                size += len(piece)
    except httpx.HTTPError as error:
        raise Unreachable.by(client, error) from error
    return size
