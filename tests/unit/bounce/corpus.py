"""The mails of tests/corpus/bounce, with the words of its README replaced."""

import json
from pathlib import Path
from typing import Any

from hayabin.domain.token import TokenKey, TokenRing
from hayabin.domain.verp import issue_message_id, issue_return_path

CORPUS = Path(__file__).parents[2] / "corpus" / "bounce"
NAMES = sorted(path.stem for path in CORPUS.glob("*.eml"))
RING = TokenRing((TokenKey(1, b"c" * 32),), active=1)
FORGER = TokenRing((TokenKey(1, b"f" * 32),), active=1)
RETIRED = TokenRing((TokenKey(9, b"r" * 32),), active=9)
WORDS = {
    "%RETURN_PATH%": issue_return_path(1000, 2, RING, "bounce.example"),
    "%MESSAGE_ID%": issue_message_id(1000, RING, "shop.example"),
    "%OTHER_MESSAGE_ID%": issue_message_id(1001, RING, "shop.example"),
    "%FORGED_RETURN_PATH%": issue_return_path(1000, 2, FORGER, "bounce.example"),
    "%FORGED_MESSAGE_ID%": issue_message_id(1000, FORGER, "shop.example"),
    "%RETIRED_RETURN_PATH%": issue_return_path(1000, 2, RETIRED, "bounce.example"),
}


def load(name: str) -> tuple[bytes, dict[str, Any]]:
    """The mail and what is expected of it, with the words of the corpus's README replaced."""
    content = (CORPUS / f"{name}.eml").read_bytes()
    expected = (CORPUS / f"{name}.json").read_text()
    for word, value in WORDS.items():
        content = content.replace(word.encode(), value.encode())
        expected = expected.replace(word, value)
    return content, json.loads(expected)
