"""What mails look like when they arrive: whole, signed as they should be, and about as large as each other's.

Promises: ``check`` verifies signatures with dkimpy, which is neither ours nor a peer's. ``unsigned`` is the mail that
the peers are given: one of ours as it arrived, without its signatures.
Fails: ``SystemExit`` where mails are missing, or a signature is missing or wrong.
Shape: a file of ``smtp-sink -d`` has its own ``X-…-Args`` lines and a Received field before the mail, and ends lines
with LF.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import dkim

from benchmarks.pipeline_parts.signing_key import SigningKey

_CHECKED = 3
_SINKS_OWN = re.compile(
    rb"\A(?:X-(?:Client|Helo|Mail|Rcpt)-[A-Za-z]+:[^\n]*\n)+(?:Received:[^\n]*\n(?:[ \t][^\n]*\n)*)?"
)
_SIGNATURE = re.compile(rb"^DKIM-Signature:[^\n]*\n(?:[ \t][^\n]*\n)*", re.MULTILINE)


def as_sent(kept: bytes) -> bytes:
    """Give the mail as it came over the wire, from a file of the sink."""
    return _SINKS_OWN.sub(b"", kept, count=1).replace(b"\n", b"\r\n")


def unsigned(kept: bytes) -> bytes:
    """Give the mail without its signatures, with LF, as ``smtp-source -F`` reads it."""
    head, separator, body = _SINKS_OWN.sub(b"", kept, count=1).partition(b"\n\n")
    return _SIGNATURE.sub(b"", head + b"\n") + separator[1:] + body


def check(who: str, files: Sequence[Path], mails: int, keys: Sequence[SigningKey]) -> tuple[bytes, int]:
    """Check how many mails arrived and the signatures of a few; gives one of them, and its size on the wire."""
    if len(files) != mails:
        raise SystemExit(f"{who}: {len(files)} mails arrived of {mails}")
    records = {key.record_name: key.key.record().encode() for key in keys}
    for file in files[:_CHECKED]:
        wrong = problem(as_sent(file.read_bytes()), records)
        if wrong:
            raise SystemExit(f"{who}: {file.name}: {wrong}")
    kept = files[0].read_bytes()
    return kept, len(as_sent(kept))


def problem(mail: bytes, records: dict[str, bytes]) -> str:
    """Tell what is wrong with the signatures: for each of ``records`` one must verify, and there is no other."""
    asked: list[str] = []

    def resolve(name: bytes, timeout: int = 5) -> bytes:
        del timeout
        asked.append(name.decode().rstrip("."))
        return records.get(asked[-1], b"")

    head = b"\r\n" + mail.partition(b"\r\n\r\n")[0]
    signatures = head.count(b"\r\nDKIM-Signature:")
    if signatures != len(records):
        return f"{signatures} signatures, not {len(records)}"
    for number in range(signatures):
        try:
            valid = dkim.DKIM(mail).verify(idx=number, dnsfunc=resolve)
        except dkim.DKIMException as error:
            return f"signature {number}: {error}"
        if not valid:
            return f"signature {number} does not verify"
    return "" if sorted(asked) == sorted(records) else f"signed with {asked}"
