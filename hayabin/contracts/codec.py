"""Encode and decode the messages of ``proto/hayabin/v1``.

Promises: what ``encode`` wrote, ``decode`` reads back equal; mail batches are compressed (zstd level 1).
Fails: bytes that are not the message, a version that is not ours, or a body that would unpack past its bound raise
``PoisonMessage``; the broker's consumer parks them with that reason.
"""

from typing import Protocol, Self, TypeVar

import zstandard
from google.protobuf.message import DecodeError, Message

from hayabin.contracts.dispatch_pb2 import MailBatch
from hayabin.domain.errors import PoisonMessage

CONTRACT_VERSION = 1
MAX_DECODED_BYTES = 64 * 1024 * 1024
"""Danger: bounds memory if somebody publishes a small body that unpacks to gigabytes."""

_COMPRESSED: tuple[type[Message], ...] = (MailBatch,)


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
    if isinstance(message, _COMPRESSED):
        return zstandard.ZstdCompressor(level=1, write_content_size=True).compress(body)
    return body


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
