"""Bodies of forms and of one-click requests: bounded in size and time, in both encodings.

Promises: at most ``BODY_MAX_BYTES`` are read, within ``BODY_WITHIN_S``; files are ignored.
Fails: ``BodyTooLong``, ``BodyUnreadable``.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import FormData
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

BODY_MAX_BYTES: Final = 16 * 1024
BODY_WITHIN_S: Final = 10.0
_FIELDS_MAX: Final = 100


class BodyTooLong(Exception):
    """More than a form of ours or a one-click request can have."""


class BodyUnreadable(Exception):
    """Not the encoding that it says, or it did not come."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A form as it was filled in."""

    fields: FormData

    def get(self, name: str, default: str = "") -> str:
        """The text of a field; of one that is there twice the last."""
        value = self.fields.get(name, default)
        return value if isinstance(value, str) else default

    def all(self, name: str) -> list[str]:
        """Every text of a field, as of check boxes."""
        return [value for value in self.fields.getlist(name) if isinstance(value, str)]

    def texts(self) -> Mapping[str, str]:
        """All of them by name."""
        return {name: value for name, value in self.fields.multi_items() if isinstance(value, str)}


async def read_form(request: Request) -> Filled:
    """The fields of a form; RFC 8058 §3.2 has mail systems send ``multipart/form-data`` or the URL-encoded kind.

    Raises:
        BodyTooLong, BodyUnreadable: see the module.

    """
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            body = await _body(request)
        if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            parser = MultiPartParser(
                request.headers,
                _once(body),
                max_files=_FIELDS_MAX,
                max_fields=_FIELDS_MAX,
                max_part_size=BODY_MAX_BYTES,
            )
            return Filled(await parser.parse())
        return Filled(await FormParser(request.headers, _once(body)).parse())
    except ClientDisconnect as error:
        raise BodyTooLong from error
    except (TimeoutError, MultiPartException, ValueError) as error:
        raise BodyUnreadable from error


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_MAX_BYTES:
            raise BodyTooLong
    return body


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body
