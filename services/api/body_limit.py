"""A bound on request bodies, before anybody reads them.

Promises: more than ``MAX_BODY_BYTES`` (for uploads ``MAX_UPLOAD_BYTES``) is 413, also when the length was not said or
was a lie.
"""

from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 2 * 1024 * 1024
MAX_UPLOAD_BYTES = 512 * 1024 * 1024


class BodyLimit:
    """ASGI middleware; see the module."""

    def __init__(self, app: ASGIApp) -> None:
        """Guard ``app``."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count what is received."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = MAX_UPLOAD_BYTES if scope["path"].rstrip("/") == "/v1/imports" else MAX_BODY_BYTES
        received = 0

        async def counted() -> Message:
            nonlocal received
            message: Message | Any = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, f"The body is larger than {limit} bytes.")
            return message

        await self._app(scope, counted, send)
