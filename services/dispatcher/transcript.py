"""What was said in an attempt, as lines for people: commands, replies, and of the content only its size.

Promises: no byte of a mail's content is here, as none is in the record; a line has at most ``MAX_LINE_CHARS`` and the
whole at most ``MAX_BYTES``, with the end kept; control characters are replaced, so it is safe in logs and in Postgres.
It cannot fail, whatever the server said.

The session only keeps references while it talks; all the formatting is here, for those attempts that are kept.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hayabin.domain.smtp_reply import Reply, SmtpPhase
from services.dispatcher.smtp_outcome import Outcome, OutcomeKind
from services.dispatcher.smtp_parameters import Peer

MAX_LINE_CHARS: Final = 500
MAX_BYTES: Final = 8 * 1024
_END_BYTES: Final = 3 * 1024  # of the whole, kept for its end
_LEFT_OUT: Final = "-- ({} lines left out)"

Said = bytes | int | Reply | str
"""Bytes: commands as written; int: so many bytes of content; a reply; or a remark of ours."""

# C0, DEL, C1, line ends of Unicode, what turns the writing direction, and halves of surrogate pairs.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_INTERRUPTIONS: Final = {
    OutcomeKind.LOST_BEFORE_DOT: "connection lost",
    OutcomeKind.LOST_AFTER_DOT: "connection lost",
    OutcomeKind.TIMEOUT_BEFORE_DOT: "timed out",
    OutcomeKind.TIMEOUT_AFTER_DOT: "timed out",
    OutcomeKind.GARBLED_BEFORE_DOT: "broken off, as the server does not keep to SMTP",
    OutcomeKind.GARBLED_AFTER_DOT: "broken off, as the server does not keep to SMTP",
}


@dataclass(frozen=True, slots=True)
class Conversation:
    """What was said for one mail; ``opening`` are the lines from the greeting on, for the first mail of a connection.

    ``number`` counts the mails of the connection from 1; 0: none was offered yet.
    """

    peer: Peer
    number: int
    opening: tuple[str, ...]
    said: Sequence[Said]


def transcript(conversation: Conversation, outcome: Outcome) -> str:
    """Give the lines of one attempt."""
    place = f", mail {conversation.number} of the connection" if conversation.said else ""
    lines = [f"connected {_ends(conversation.peer)} {conversation.peer.tls or 'without TLS'}{place}"]
    if conversation.number == (1 if conversation.said else 0):
        lines += conversation.opening
    for item in conversation.said:
        lines += _lines(item)
    if outcome.reply is None:
        lines.append(f"-- {_INTERRUPTIONS.get(outcome.kind, outcome.kind.value)}{_where(outcome)}")
    elif outcome.reply not in conversation.said:
        lines.append(f"-- {outcome.reply}")
    return _bounded(lines)


def transcript_of_failure(peer: Peer, lines: Sequence[str], why: str) -> str:
    """Give the lines of an attempt that did not get as far as a mail: what was said until then, and why it ended."""
    return _bounded([f"connecting {_ends(peer)}", *lines, f"-- {why}"])


def _ends(peer: Peer) -> str:
    address = f"[{peer.address}]" if ":" in peer.address else peer.address
    return f"{peer.source_ip or 'from any address'} -> {address}:{peer.port} {peer.host}"


def _lines(item: Said) -> list[str]:
    match item:
        case Reply(code=code, enhanced=enhanced, text=text):
            *first, last = text.split("\n")
            status = f"{enhanced} " if enhanced else ""
            return [*(f"S: {code}-{status}{line}" for line in first), f"S: {code} {status}{last}"]
        case bytes():
            return [f"C: {line}" for line in item.decode("utf-8", "replace").removesuffix("\r\n").split("\r\n")]
        case int():
            return [f"C: ({item} bytes of content)"]
        case str():
            return [f"-- {item}"]


def _where(outcome: Outcome) -> str:
    if outcome.unknown:
        return " after the final dot: whether the mail was taken is unknown"
    if outcome.phase is SmtpPhase.DATA:
        return " before the final dot had left"
    return f" before the reply to {outcome.phase.upper()}"


def _bounded(lines: Sequence[str]) -> str:
    """Join lines; if they are too many, those in the middle are left out."""
    clean = [_UNSAFE.sub("?", line[:MAX_LINE_CHARS]) for line in lines]
    whole = "\n".join(clean)
    if len(whole.encode()) <= MAX_BYTES:
        return whole
    end = _fitting(clean[::-1], _END_BYTES)
    start = _fitting(clean, MAX_BYTES - _END_BYTES - len(_LEFT_OUT) - len(str(len(clean))))
    left_out = _LEFT_OUT.format(len(clean) - start - end)
    return "\n".join([*clean[:start], left_out, *clean[len(clean) - end :]])


def _fitting(lines: Sequence[str], size_bytes: int) -> int:
    """Count how many of the first lines fit, each with its line end."""
    used = 0
    for count, line in enumerate(lines):
        used += len(line.encode()) + 1
        if used > size_bytes:
            return count
    return len(lines)
