"""Encode and decode the messages of ``proto/hayabin/v1``.

Promises: what ``encode`` wrote, ``decode`` reads back equal; mail batches are compressed (zstd level 1), and
``encode_batch`` gives what ``encode`` would of the batch with its mails, without a copy of them in between.
Fails: bytes that are not the message, a version that is not ours, or a body that would unpack past its bound raise
``PoisonMessage``; the broker's consumer parks them with that reason.
"""

import threading
from collections.abc import Iterable
from typing import Protocol, Self, TypeVar

import zstandard
from google.protobuf.message import DecodeError, Message

from hayabin.contracts.dispatch_pb2 import Mail, MailBatch
from hayabin.domain.errors import PoisonMessage

CONTRACT_VERSION = 1
MAX_DECODED_BYTES = 64 * 1024 * 1024
"""Danger: bounds memory if somebody publishes a small body that unpacks to gigabytes."""

_COMPRESSED: tuple[type[Message], ...] = (MailBatch,)
_MAILS_TAG = bytes((MailBatch.MAILS_FIELD_NUMBER << 3 | 2,))
_CONTENT_TAG = bytes((Mail.CONTENT_FIELD_NUMBER << 3 | 2,))
_of_thread = threading.local()


class _Versioned(Protocol):
    version: int

    def SerializeToString(self) -> bytes: ...  # noqa: N802 - protobuf's name

    @classmethod
    def FromString(cls, data: bytes) -> Self: ...  # noqa: N802 - protobuf's name


M = TypeVar("M", bound=_Versioned)


def encode(message: _Versioned) -> bytes:
    """Bytes of ``message``, with our contract version set."""
    message.version = CONTRACT_VERSION
    body = message.SerializeToString()
    return _compress(body) if isinstance(message, _COMPRESSED) else body


def encode_batch(batch: MailBatch, mails: Iterable[tuple[Mail, bytes]]) -> bytes:
    """Bytes of ``batch`` with ``mails`` after its own; each is an envelope that has no content yet, and its content.

    Handed to protobuf, each content is copied into its message, and with each growth of the batch; here, once.
    Source: protobuf encoding: length-delimited records; fields may come in any order, and elements of a repeated one
    may stand apart.
    """
    batch.version = CONTRACT_VERSION
    pieces = [batch.SerializeToString()]
    for envelope, content in mails:
        start = envelope.SerializeToString() + _CONTENT_TAG + _varint(len(content))
        pieces += (_MAILS_TAG + _varint(len(start) + len(content)) + start, content)
    return _compress(b"".join(pieces))


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; every byte but the last has its high bit set."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _compress(body: bytes) -> bytes:
    """By the compressor of this thread: to make its tables takes longer than to compress a small batch."""
    compressor: zstandard.ZstdCompressor | None = getattr(_of_thread, "compressor", None)
    if compressor is None:
        compressor = _of_thread.compressor = zstandard.ZstdCompressor(level=1, write_content_size=True)
    return compressor.compress(body)


def decode(kind: type[M], body: bytes) -> M:
    """The message that ``body`` holds.

    Raises:
        PoisonMessage: ``undecodable``, ``too_large`` or ``unknown_version``.
    """
    if issubclass(kind, _COMPRESSED):
        body = _decompress(body)
    try:
        message = kind.FromString(body)
    except DecodeError as error:
        raise PoisonMessage("undecodable", str(error)) from error
    if message.version != CONTRACT_VERSION:
        raise PoisonMessage("unknown_version", f"{kind.__name__} version {message.version}")
    return message


def _decompress(body: bytes) -> bytes:
    try:
        size = zstandard.frame_content_size(body)
        if size < 0 or size > MAX_DECODED_BYTES:
            raise PoisonMessage("too_large", f"{size} bytes when unpacked")
        return zstandard.ZstdDecompressor().decompress(body, max_output_size=MAX_DECODED_BYTES)
    except zstandard.ZstdError as error:
        raise PoisonMessage("undecodable", str(error)) from error
