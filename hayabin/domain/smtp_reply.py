"""Replies of SMTP servers, from bytes on the wire to ``Reply``.

Promises: the replies found do not depend on how the bytes were split; a reply has at most ``MAX_REPLY_BYTES`` on the
wire and ``MAX_TEXT_BYTES`` of it are kept; its text has no control characters but the line feed between lines, so that
it is safe in logs and in Postgres. A reply that is complete before garbage begins is never lost to it.
Fails with ``ProtocolError`` for what is not an SMTP reply; the connection cannot be used after that.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

MAX_REPLY_BYTES: Final = 64 * 1024
MAX_TEXT_BYTES: Final = 2 * 1024
# Short lines repeat from mail to mail ("250 2.1.0 Ok"), so their replies are remembered; longer ones carry queue ids.
_REMEMBERED_LINE_BYTES: Final = 96

_LINE = re.compile(rb"([2-5][0-5][0-9])(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?: |$)")
# A server's text is untrusted: a tab reads as a space, any other control byte as "?".
_PRINTABLE = bytes(0x20 if b == 0x09 else 0x3F if b < 0x20 or b == 0x7F else b for b in range(256))
# C1, line ends of Unicode, and what turns the writing direction: they come encoded, so no single byte tells.
_UNSAFE = re.compile("[\x80-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class SmtpPhase(StrEnum):
    """Where in the conversation a reply was given, or was awaited."""

    CONNECT = "connect"  # the greeting
    EHLO = "ehlo"
    STARTTLS = "starttls"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"  # the reply to the command, and the sending of content up to its final dot
    DOT = "dot"  # the reply to the final dot
    QUIT = "quit"


class ProtocolError(Exception):
    """The peer does not speak SMTP, or says too much; carries a stable ``reason``."""

    def __init__(self, reason: str) -> None:
        """Keep ``reason``: ``garbage``, ``mixed_codes``, ``too_long`` or ``unexpected_reply``."""
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply: basic code, enhanced status code where the server gave one, text without both.

    Source: RFC 5321 §4.2, RFC 3463 §2, RFC 2034 §4.
    """

    code: int
    enhanced: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced} {self.text}" if self.enhanced else f"{self.code} {self.text}"

    @property
    def is_positive(self) -> bool:
        """2yz: the action was done."""
        return 200 <= self.code < 300

    @property
    def is_temporary(self) -> bool:
        """4yz: the same may succeed later."""
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        """5yz: the same will not succeed."""
        return self.code >= 500


def reply_from_text(code: int, text: str) -> Reply:
    """Build a reply from a code and lines that another parser took apart, under the same bounds.

    Raises: ProtocolError if ``code`` is not one of SMTP.
    """
    if not 200 <= code < 600:
        raise ProtocolError("garbage")
    lines = [line.encode("utf-8", "replace") for line in text[:MAX_TEXT_BYTES].split("\n")]
    return _reply(code, [line.rstrip(b"\r") for line in lines])


class ReplyParser:
    """Incremental parser of one connection's replies; multi-line, bare LF tolerated.

    Source: RFC 5321 §4.2 and §4.2.1.
    """

    __slots__ = ("_broken", "_buffer", "_code", "_lines", "_scanned", "_seen", "_text_bytes")

    def __init__(self) -> None:
        self._buffer = bytearray()  # an unfinished line
        self._scanned = 0  # how much of it is known to hold no LF; bounds the work if bytes dribble in
        self._code = 0  # of the unfinished multi-line reply; 0 between replies
        self._lines: list[bytes] = []
        self._seen = 0  # bytes of the finished lines of this reply
        self._text_bytes = 0
        self._broken: ProtocolError | None = None

    @property
    def pending(self) -> bool:
        """True in the middle of a reply."""
        return bool(self._buffer) or self._code != 0

    @property
    def broken(self) -> ProtocolError | None:
        """The failure that the next ``feed`` raises; for who wants to know at once."""
        return self._broken

    def feed(self, data: bytes) -> list[Reply]:
        """Take bytes and give the replies that they complete.

        Raises: ProtocolError once the stream is garbage and every reply before that was given.
        """
        if self._broken is not None:
            raise self._broken
        replies: list[Reply] = []
        try:
            self._take(data, replies)
        except ProtocolError as failure:
            self._broken = failure
            if not replies:
                raise
        return replies

    def _take(self, data: bytes, replies: list[Reply]) -> None:
        if self._buffer:
            self._buffer += data
            end = self._buffer.find(b"\n", self._scanned)
            if end < 0:
                self._scanned = len(self._buffer)
                self._refuse_excess(self._scanned)
                return
            data = bytes(self._buffer)
            self._buffer.clear()
            self._scanned = 0
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._refuse_excess(end + 1 - start)
            stop = end - 1 if end > start and data[end - 1] == 0x0D else end
            reply = self._line(data[start:stop], end + 1 - start)
            if reply is not None:
                replies.append(reply)
            start = end + 1
        if start < len(data):
            self._buffer += data[start:]
            self._scanned = len(self._buffer)
            self._refuse_excess(self._scanned)

    def _refuse_excess(self, line_bytes: int) -> None:
        """Bound memory if a server streams without line ends, or continuation lines without an end."""
        if self._seen + line_bytes > MAX_REPLY_BYTES:
            raise ProtocolError("too_long")

    def _line(self, line: bytes, wire_bytes: int) -> Reply | None:
        """Take one line; give the reply if it was the last of one."""
        if self._code == 0 and len(line) <= _REMEMBERED_LINE_BYTES and line[3:4] != b"-":
            return _single_line(line)
        code, last, text = _take_apart(line)
        if self._code not in (0, code):
            raise ProtocolError("mixed_codes")
        if self._text_bytes < MAX_TEXT_BYTES:
            self._lines.append(text[: MAX_TEXT_BYTES - self._text_bytes])
            self._text_bytes += len(text) + 1
        if not last:
            self._code = code
            self._seen += wire_bytes
            return None
        reply = _reply(code, self._lines)
        self._code = self._seen = self._text_bytes = 0
        self._lines = []
        return reply


def _take_apart(line: bytes) -> tuple[int, bool, bytes]:
    """Give code, whether it is the last line, and the text of one line."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise ProtocolError("garbage")
    return int(match[1]), match[2] != b"-", match[3] or b""


@lru_cache(maxsize=512)
def _single_line(line: bytes) -> Reply:
    code, _, text = _take_apart(line)
    return _reply(code, [text])


def _reply(code: int, lines: list[bytes]) -> Reply:
    texts = [line.translate(_PRINTABLE).decode("utf-8", "replace").strip() for line in lines]
    if not all(text.isascii() for text in texts):
        texts = [_UNSAFE.sub("?", text) for text in texts]
    enhanced: str | None = None
    match = _ENHANCED.match(texts[0]) if texts else None
    if match is not None:
        enhanced = match[1]
        # Gmail repeats the enhanced code on every line of a reply.
        texts = [text.removeprefix(enhanced).lstrip() for text in texts]
    return Reply(code, enhanced, "\n".join(texts).strip("\n"))
