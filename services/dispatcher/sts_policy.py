"""The two texts of MTA-STS: the TXT record that announces a policy, and the policy.

Promises: what is given follows the grammar of the RFC; unknown fields are passed over, as it asks. A policy's lifetime
is at most ``LONGEST_AGE_S``. Pure: no I/O.
Fails with ``StsInvalid``, which says what is wrong.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

LONGEST_AGE_S: Final = 31_557_600
MAX_POLICY_BYTES: Final = 64 * 1024

_RECORD_BEGIN: Final = "v=STSv1;"
_RECORD_FIELD = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})=([\x21-\x3a\x3c\x3e-\x7e]+)")
_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_FIELD = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31}):[ \t]*([^\x00-\x1f\x7f]*?)[ \t]*")
_AGE = re.compile(r"[0-9]{1,10}")
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_MX = re.compile(rf"(?=.{{1,255}}\Z)(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")


class StsInvalid(Exception):
    """A text that is no MTA-STS."""


class StsMode(StrEnum):
    """What a policy asks of senders."""

    ENFORCE = "enforce"  # no delivery where it is not kept
    TESTING = "testing"  # deliver, but notice
    NONE = "none"  # there is no policy any more


@dataclass(frozen=True, slots=True)
class StsPolicy:
    """A domain's policy; ``id`` is that of the record which announced it."""

    mode: StsMode
    mx: tuple[str, ...]
    id: str

    def allows(self, host: str) -> bool:
        """Tell whether a host may take the domain's mail.

        Source: RFC 8461 §4.1 (a wildcard stands for one whole label).
        """
        name = host.lower().rstrip(".")
        _, _, parent = name.partition(".")
        return name in self.mx or (bool(parent) and f"*.{parent}" in self.mx)


def announced_id(texts: Iterable[str]) -> str:
    """Give the policy's id from the TXT records of ``_mta-sts.<domain>``.

    Raises: StsInvalid
    Source: RFC 8461 §3.1.
    """
    records = [text for text in texts if text.startswith(_RECORD_BEGIN)]
    if len(records) != 1:
        raise StsInvalid(f"{len(records)} records of MTA-STS")
    fields = [part.strip(" \t") for part in records[0].split(";")[1:]]
    if fields and not fields[-1]:
        fields.pop()
    found = ""
    for field in fields:
        match = _RECORD_FIELD.fullmatch(field)
        if match is None:
            raise StsInvalid("the record is malformed")
        if match[1] == "id" and not found:
            found = match[2]
    if not _ID.fullmatch(found):
        raise StsInvalid("the record has no id")
    return found


def parse_policy(body: bytes, policy_id: str) -> tuple[StsPolicy, int]:
    """Give policy and lifetime in seconds.

    Raises: StsInvalid
    Source: RFC 8461 §3.2.
    """
    if len(body) > MAX_POLICY_BYTES:
        raise StsInvalid("the policy is too large")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise StsInvalid("the policy is no UTF-8") from None
    first: dict[str, str] = {}
    mx: list[str] = []
    for line in _lines(text):
        match = _FIELD.fullmatch(line)
        if match is None or not match[2]:
            raise StsInvalid("a line is malformed")
        if match[1] == "mx":
            mx.append(_pattern(match[2]))
        else:
            first.setdefault(match[1], match[2])  # of a field that is there twice the first counts
    return StsPolicy(_mode(first, mx), tuple(dict.fromkeys(mx)), policy_id), _age_s(first)


def _lines(text: str) -> list[str]:
    """Split at LF or CRLF; the last line need not have an end."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def _pattern(value: str) -> str:
    if not _MX.fullmatch(value):
        raise StsInvalid("an mx is no name")
    return value.lower()


def _mode(first: dict[str, str], mx: list[str]) -> StsMode:
    if first.get("version") != "STSv1":
        raise StsInvalid("the version is not STSv1")
    try:
        mode = StsMode(first.get("mode", ""))
    except ValueError:
        raise StsInvalid("the mode is unknown") from None
    if not mx and mode is not StsMode.NONE:
        raise StsInvalid("no mx is named")
    return mode


def _age_s(first: dict[str, str]) -> int:
    value = first.get("max_age", "")
    if not _AGE.fullmatch(value):
        raise StsInvalid("max_age is no number")
    return min(int(value), LONGEST_AGE_S)
