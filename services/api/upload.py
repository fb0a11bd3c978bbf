"""The body of an upload as a stream: the file itself, or one part of ``multipart/form-data``.

Promises: memory is bounded by what the connection gives at a time; a sender that falls silent is given up. Once the
stream is at its end, ``request.state`` has the file's name in ``upload_name`` and the digest of name and content in
``upload_digest``, which is the same for both forms of sending it again.
Fails: 503 while ``MAX_UPLOADS`` are under way, 429 for a tenant that has its share; 408 for a silent sender, 422 for a
malformed or fileless multipart body, 413 as ``BodyLimit`` says.
Source: RFC 7578.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from services.api.problems import Problem

MAX_UPLOADS = 6
"""In this process; each holds a database connection while it lasts."""
MAX_UPLOADS_OF_TENANT = 2
SILENCE_S = 30.0
UPLOAD_S = 900.0
PATH = "/v1/imports"
_LATER = {"Retry-After": "5"}


class Uploads:
    """Counts what is under way."""

    def __init__(self) -> None:
        """Begin with none."""
        self._of_tenant: Counter[int] = Counter()

    @contextmanager
    def slot(self, tenant_id: int) -> Iterator[None]:
        """Hold a place while the block lasts.

        Raises:
            Problem: see the module.
        """
        if self._of_tenant[tenant_id] >= MAX_UPLOADS_OF_TENANT:
            raise Problem(
                429, "too-many-uploads", f"At most {MAX_UPLOADS_OF_TENANT} uploads at a time.", headers=_LATER
            )
        if self._of_tenant.total() >= MAX_UPLOADS:
            raise Problem(503, "unavailable", "Others are uploading just now. Try again.", headers=_LATER)
        self._of_tenant[tenant_id] += 1
        try:
            yield
        finally:
            self._of_tenant[tenant_id] -= 1
            self._of_tenant += Counter()  # forget who has none


def is_upload(request: Request) -> bool:
    """Whether the body is to be streamed rather than read whole."""
    return request.method == "POST" and request.url.path.rstrip("/") == PATH


async def _body_parts(request: Request) -> AsyncIterator[bytes]:
    stream = aiter(request.stream())
    deadline = asyncio.get_running_loop().time() + UPLOAD_S
    while True:
        left = min(SILENCE_S, deadline - asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(left):
                part = await anext(stream, None)
        except TimeoutError as error:
            raise Problem(408, "request-timeout", "The body came too slowly. Send it again.") from error
        if part is None:
            return
        yield part


async def file_parts(request: Request) -> AsyncIterator[bytes]:
    """The file as it comes in, out of its envelope where it has one.

    Raises:
        Problem: see the module.
    """
    digest = hashlib.blake2b(digest_size=16)
    kind, options = parse_options_header(request.headers.get("content-type"))
    envelope = _Envelope(options.get(b"boundary", b"")) if kind == b"multipart/form-data" else None
    async for part in _body_parts(request):
        for piece in (part,) if envelope is None else envelope.feed(part):
            digest.update(piece)
            yield piece
    request.state.upload_name = "" if envelope is None else envelope.finish()
    digest.update(request.state.upload_name.encode())
    request.state.upload_digest = digest.digest()


class _Envelope:
    """Takes the first file out of a multipart body; everything else in it is passed over."""

    def __init__(self, boundary: bytes) -> None:
        if not boundary:
            raise _malformed("its Content-Type has no boundary")
        self._name: str | None = None
        self._inside = False
        self._field = bytearray()
        self._value = bytearray()
        self._pieces: list[bytes] = []
        self._parser = MultipartParser(
            boundary,
            {
                "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._header,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
            },
        )

    def feed(self, part: bytes) -> list[bytes]:
        """What ``part`` has of the file."""
        try:
            self._parser.write(part)
        except FormParserError as error:
            raise _malformed(str(error)[:200]) from error
        pieces, self._pieces = self._pieces, []
        return pieces

    def finish(self) -> str:
        """The name of the file."""
        try:
            self._parser.finalize()
        except FormParserError as error:
            raise _malformed(str(error)[:200]) from error
        if self._name is None:
            raise _malformed("no part of it is a file")
        return self._name

    def _header(self) -> None:
        if bytes(self._field).lower() == b"content-disposition" and self._name is None:
            _, options = parse_options_header(bytes(self._value))
            if b"filename" in options:
                self._name = options[b"filename"].decode("utf-8", "replace")
                self._inside = True
        self._field.clear()
        self._value.clear()

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._inside:
            self._pieces.append(data[start:end])

    def _part_end(self) -> None:
        self._inside = False


def _malformed(why: str) -> Problem:
    return Problem(422, "invalid-multipart", f"The multipart body cannot be read: {why}.")
