"""The load generator: whole answers, every one counted, the clock of an open loop."""

import asyncio
from pathlib import Path

import pytest

from benchmarks.http_load import Load, answer_size, apply, request_text

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\ncontent-length: 5\r\n\r\nhello"


def test_answer_size_is_head_and_body_and_none_until_the_head_is_there() -> None:
    """Cut anywhere: nothing is said before the head is whole, then the whole size, whatever follows it."""
    end = ANSWER.index(b"\r\n\r\n") + 4
    assert {answer_size(ANSWER[:cut]) for cut in range(end)} == {None}
    assert {answer_size(ANSWER[:cut]) for cut in range(end, len(ANSWER) + 1)} == {len(ANSWER)}
    assert answer_size(ANSWER + ANSWER) == len(ANSWER)


def test_answer_size_without_length_raises() -> None:
    """A length that stands in the body, or in another field's value, is none."""
    with pytest.raises(ValueError, match="Content-Length"):
        answer_size(b"HTTP/1.1 200 OK\r\nX: content-length: 5\r\n\r\n\r\ncontent-length: 5\r\n")


def test_request_text_with_body_says_its_size_in_bytes() -> None:
    """Of a body beyond ASCII the bytes count, not the characters."""
    text = request_text("POST", "/x", {"A": "b"}, '"春"')
    assert text.startswith("POST /x HTTP/1.1\r\nHost: 127.0.0.1\r\nA: b\r\n")
    assert "\r\nContent-Length: 5\r\n" in text


class Slow:
    """A server that answers each request after a pause, with the status that its path says, in two pieces."""

    def __init__(self, pause_s: float, answers: int = 10**9) -> None:
        self.pause_s = pause_s
        self.left = answers
        self.seen: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, until there are no answers left."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                path = head.split(" ")[1]
                if not self.left:
                    break
                self.left -= 1
                self.seen.append(path)
                await asyncio.sleep(self.pause_s)
                writer.write(f"HTTP/1.1 {path[1:4]} x\r\nContent-".encode())
                await writer.drain()
                await asyncio.sleep(0.001)
                writer.write(b"Length: 2\r\n\r\nok")
        except asyncio.IncompleteReadError:
            pass
        writer.close()


async def loaded(slow: Slow, folder: Path, load: dict[str, object]) -> dict[str, object]:
    """What comes of a load on a slow server."""
    server = await asyncio.start_server(slow.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        return await asyncio.to_thread(apply, Load(port=port, **load), folder)  # type: ignore[arg-type]
    finally:
        server.close()


async def test_once_sends_each_request_once_and_counts_answers_by_status(tmp_path: Path) -> None:
    """Thirty requests on four connections: each seen once, each answer told with its latency."""
    requests = [request_text("GET", f"/{200 if n % 3 else 302}/{n}", {}) for n in range(30)]
    slow = Slow(0.005)
    load = {"requests": requests, "connections": 4, "seconds": 20, "once": True, "tell": True}
    found = await loaded(slow, tmp_path, load)
    assert (found["statuses"], found["broken"], found["unanswered"]) == ({"200": 20, "302": 10}, 0, 0)
    assert sorted(slow.seen) == sorted(request.split(" ")[1] for request in requests)
    assert sorted(index for index, _ in found["answered"]) == list(range(30))  # type: ignore[attr-defined]
    assert all(latency_s >= 0.005 for _, latency_s in found["answered"])  # type: ignore[attr-defined]


async def test_server_that_goes_away_ends_the_load_and_counts_what_broke(tmp_path: Path) -> None:
    """After seven answers every connection is closed: seven answers told, the rest counted as broken."""
    requests = [request_text("GET", f"/200/{n}", {}) for n in range(100)]
    load = {"requests": requests, "connections": 3, "seconds": 20, "once": True, "tell": True}
    found = await loaded(Slow(0.001, answers=7), tmp_path, load)
    assert (found["answers"], found["broken"]) == (7, 3)


async def test_open_loop_counts_the_wait_for_a_connection(tmp_path: Path) -> None:
    """One connection, 50 ms an answer, 40 a second for 1 s: half of them wait, longer and longer."""
    load = {"requests": [request_text("GET", "/200", {})], "connections": 1, "seconds": 1.0, "rate_per_s": 40.0}
    found = await loaded(Slow(0.05), tmp_path, load)
    assert 30 <= found["answers"] <= 42  # type: ignore[operator]
    assert (found["broken"], found["unanswered"]) == (0, 0)
    assert found["p50_ms"] > 200  # type: ignore[operator]
    assert found["p99_ms"] > 600  # type: ignore[operator]
