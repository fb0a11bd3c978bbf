"""What is fuzzed: for each parser what it is fed with, and what must hold of it for any input.

Promises: ``run`` returns for every input, within ``SECONDS_MAX``, or raises what is wrong. A new parser is one entry
of ``TARGETS``.
"""

import json
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hayabin.domain.address import AddressInvalid, parse_address, plain_forms
from tests.fuzz.import_files import feed_import, feed_mapping, import_seeds

CORPUS = Path(__file__).resolve().parents[1] / "corpus"
DETAIL_MAX_CHARS = 2000
SECONDS_MAX = 0.5
"""Of the processor's time for one input, a million characters long or not: far above what any needs."""


@dataclass(frozen=True, slots=True)
class Target:
    """A parser, and where its inputs come from."""

    run: Callable[[bytes], None]
    """Feed it one input; raises whatever is wrong."""
    seeds: Callable[[], Sequence[bytes]]


def feed_address(content: bytes) -> None:
    """The address parser: one meaning or a named refusal; nothing that could end a line, a path or a command."""
    text = content.decode(errors="surrogateescape")
    forms = plain_forms(text)
    try:
        address = parse_address(text)
    except AddressInvalid as refused:
        if forms is not None or len(refused.detail) > DETAIL_MAX_CHARS:
            raise AssertionError("the short way took what the parser refuses, or the refusal tells too much") from None
        return
    assert forms is None or forms == (address.wire, address.key), "the short way says something else"
    for form in (address.given, address.wire, address.key):
        assert not any(unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for character in form)
    assert not set(address.wire) & set(" <>()[],;:\\"), "a character that has a meaning to SMTP"
    assert address.wire.count("@") == 1
    assert len(address.wire.encode()) <= 254
    again = parse_address(address.wire)
    assert (again.wire, again.key) == (address.wire, address.key), "not the same after a round trip"
    assert parse_address(address.key).key == address.key, "the key is not its own key"


def _address_seeds() -> list[bytes]:
    found = []
    for name in ("address/cases.jsonl", "addresses/isemail.jsonl"):
        lines = (CORPUS / name).read_text().splitlines()
        found += [json.loads(line)["given"].encode(errors="surrogatepass") for line in lines]
    return found


TARGETS: dict[str, Target] = {
    "address": Target(feed_address, _address_seeds),
    "import": Target(feed_import, import_seeds),
    "mapping": Target(feed_mapping, import_seeds),
}
