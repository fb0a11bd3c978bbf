"""What comes over an SMTP connection, taken apart into command lines and mails, in as few steps as there are reads.

Promises: however the bytes are cut into segments, the same lines and mails come out; a line and a mail are bounded, and
what follows a mail in the same segment (RFC 2920) is not lost.
Fails: ``LineTooLong``; ``asyncio.IncompleteReadError`` where the client goes in the middle of something.
"""

import asyncio

CHUNK_BYTES = 64 * 1024
_END = b"\r\n.\r\n"
_EMPTY = b".\r\n"


class LineTooLong(Exception):
    """A client sent a line above the bound."""


class SmtpInput:
    """The reading side of one connection."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        """Read from ``reader`` alone; nobody else may."""
        self._reader = reader
        self._buffer = bytearray()

    async def line(self, max_bytes: int) -> bytes:
        """The next line without its end.

        Raises:
            LineTooLong: see the module.
        """
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > max_bytes:
                raise LineTooLong
            await self._more()
        if end > max_bytes:
            raise LineTooLong
        line = bytes(self._buffer[:end]).removesuffix(b"\r")
        del self._buffer[: end + 1]
        return line

    async def content(self, max_bytes: int) -> bytes | None:
        """The mail up to the final dot, unstuffed; None for a longer one, which is read to its end all the same.

        Source: RFC 5321 §4.5.2.
        """
        while len(self._buffer) < len(_EMPTY):
            await self._more()
        if self._buffer.startswith(_EMPTY):
            del self._buffer[: len(_EMPTY)]
            return b""
        fits, searched = True, 0
        while (end := self._buffer.find(_END, searched)) < 0:
            if len(self._buffer) > max_bytes + len(_END):
                fits = False
                del self._buffer[: -len(_END)]
            searched = max(0, len(self._buffer) - len(_END))
            await self._more()
        raw = bytes(self._buffer[: end + 2])
        del self._buffer[: end + len(_END)]
        if not fits or len(raw) > max_bytes:
            return None
        unstuffed = raw[1:] if raw.startswith(b".") else raw
        return unstuffed.replace(b"\r\n.", b"\r\n")

    async def _more(self) -> None:
        chunk = await self._reader.read(CHUNK_BYTES)
        if not chunk:
            raise asyncio.IncompleteReadError(bytes(self._buffer[:100]), None)
        self._buffer += chunk
