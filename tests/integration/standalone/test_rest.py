"""The client of the REST API that commands and demo share, against a server that says exactly what it is told to."""

import httpx
import pytest

from services.standalone.rest import Refused, Unreachable, asked, opened, paged
from services.standalone.transfers.files import followed
from tests.support.raw_server import Wire, raw_server

BUSY = b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 2\r\n\r\n{}"
LATER = (
    b"HTTP/1.1 429 Later\r\nRetry-After: 3600\r\nContent-Length: 56\r\n\r\n"
    b'{"title": "Quota exceeded", "detail": "Until tomorrow."}'
)
PAGE = b'HTTP/1.1 200 OK\r\nContent-Length: 58\r\n\r\n{"items": [{"id": 1}, {"id": 2}], "next_cursor": "more"}  '
BROKEN = b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
DONE = b'HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n{"state": "completed"}'
HTML = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"


async def says(wire: Wire, *answers: bytes) -> None:
    """Answer one request after the other; an empty answer cuts the connection."""
    for answer in answers:
        await wire.hear(b"\r\n\r\n")
        if not answer:
            wire.writer.close()
            return
        await wire.say(answer)


def client_of(port: int) -> httpx.AsyncClient:
    """A client of a port of this machine."""
    return opened(f"http://127.0.0.1:{port}", "key", trust_env=False)


async def test_busy_api_is_asked_again_with_the_same_idempotency_key() -> None:
    """So that what was done although the answer was lost is not done twice."""
    async with (
        raw_server(lambda wire: says(wire, BUSY, BUSY, DONE)) as (port, wires),
        client_of(port) as client,
    ):
        assert await asked(client, "POST", "/v1/x", json={}) == {"state": "completed"}
    keys = [line for line in bytes(wires[0].received).lower().split(b"\r\n") if line.startswith(b"idempotency-key")]
    assert (len(keys), len(set(keys))) == (3, 1)


async def test_api_that_says_much_later_is_not_waited_for() -> None:
    """A quota of the day is told at once."""
    async with raw_server(lambda wire: says(wire, LATER)) as (port, _), client_of(port) as client:
        with pytest.raises(Refused, match="429 Quota exceeded: Until tomorrow"):
            await asked(client, "GET", "/v1/x")


@pytest.mark.parametrize("answer", [HTML, b""], ids=["no JSON", "cut"])
async def test_somebody_else_who_answers_is_unreachable(answer: bytes) -> None:
    """The address is told, not a traceback."""
    async with raw_server(lambda wire: says(wire, answer)) as (port, _), client_of(port) as client:
        with pytest.raises(Unreachable, match=f"127.0.0.1:{port}"):
            await asked(client, "GET", "/v1/x")


async def test_page_is_asked_for_when_its_rows_are_wanted() -> None:
    """Whoever reads one page makes one request; a limit is what the last page is asked for."""
    async with raw_server(lambda wire: says(wire, PAGE, PAGE, PAGE, PAGE)) as (port, wires), client_of(port) as client:
        async for rows in paged(client, "/v1/x", None, {"stage": None}):
            assert [row["id"] for row in rows] == [1, 2]
            break
        assert [len(rows) async for rows in paged(client, "/v1/x", 3, {"stage": "a b"})] == [2, 2]
    asked_for = [line.split()[1] for line in bytes(wires[0].received).split(b"\r\n") if line.startswith(b"GET")]
    assert asked_for == [b"/v1/x?limit=500", b"/v1/x?stage=a+b&limit=3", b"/v1/x?stage=a+b&limit=1&cursor=more"]


async def test_job_is_followed_through_a_restart_of_the_api() -> None:
    """An import of an hour is not given up for a connection that broke off."""
    answers = iter([b"", BROKEN, DONE])
    async with raw_server(lambda wire: says(wire, next(answers))) as (port, wires), client_of(port) as client:
        assert await followed(client, "/v1/imports/1", str) == {"state": "completed"}
        assert len(wires) == 3
