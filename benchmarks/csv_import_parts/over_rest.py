"""Ours: the file goes to ``POST /v1/imports`` as a stream, and the job is followed by ``GET`` to its end.

Units: seconds.
Fails: SystemExit where the API refuses, or where the job does not end as it must.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.csv_import_parts.people_csv import PeopleFile

_PIECE_BYTES = 256 * 1024
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Import:
    """How long it took, and what the job says of itself."""

    upload_s: float
    total_s: float
    job: dict[str, Any]


async def import_over_rest(
    base_url: str, key: str, people: PeopleFile, query: Mapping[str, str | int], *, timeout_s: float
) -> Import:
    """Upload the file, with what ``query`` says of it, and wait until its job is completed."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "text/csv", "Content-Length": str(people.size_bytes)}
    async with httpx.AsyncClient(base_url=base_url, timeout=timeout_s) as client:
        began_s = time.monotonic()
        answer = await client.post("/v1/imports", content=_pieces(people), headers=headers, params=dict(query))
        uploaded_s = time.monotonic()
        if answer.status_code != httpx.codes.ACCEPTED:
            raise SystemExit(f"the upload was answered with {answer.status_code}: {answer.text[:500]}")
        path = f"/v1/imports/{answer.json()['id']}"
        while True:
            job = (await client.get(path, headers={"Authorization": headers["Authorization"]})).json()
            ended_s = time.monotonic()
            if job["state"] not in {"queued", "running"}:
                break
            if ended_s - began_s > timeout_s:
                raise SystemExit(f"not imported after {timeout_s:.0f} s: {job}")
            await asyncio.sleep(_POLL_S)
    counted = (job["state"], job["rows_read"], job["rows_imported"], job["rows_invalid"])
    if counted != ("completed", people.rows, people.addresses, 0):
        raise SystemExit(f"a file of {people.rows} rows with {people.addresses} addresses was imported as {job}")
    return Import(uploaded_s - began_s, ended_s - began_s, job)


async def _pieces(people: PeopleFile) -> AsyncIterator[bytes]:
    with people.path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
