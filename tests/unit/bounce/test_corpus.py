"""Every mail of tests/corpus/bounce is read as the JSON file beside it says, whatever its line ends."""

import pytest

from services.bounce.inbound import parse_inbound
from services.bounce.match import BounceFact, Unmatched, match
from services.bounce.report import Arf, Dsn
from tests.unit.bounce.corpus import CORPUS, NAMES, RING, load


def test_corpus_is_found_and_paired() -> None:
    """The folder is not empty, and no file stands alone."""
    assert len(NAMES) >= 25
    assert sorted(path.stem for path in CORPUS.glob("*.json")) == NAMES


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("name", NAMES)
def test_mail_of_the_corpus_is_read_as_its_json_says(name: str, line_end: bytes) -> None:
    """Kind, recipient and the fact (or the reason why there is none) are those written beside the mail."""
    content, expected = load(name)
    parsed = parse_inbound(content.replace(b"\n", line_end))
    if "form" in expected:
        assert isinstance(parsed, Dsn)
        assert (parsed.form.value, parsed.recipients[0].recipient) == (expected["form"], expected["recipient"])
    elif "feedback" in expected:
        assert isinstance(parsed, Arf)
        assert parsed.feedback_type.value == expected["feedback"]
    else:
        assert type(parsed).__name__ == expected["parsed"]
    result = match(parsed, expected["rcpt_to"], RING)
    if "unmatched" in expected:
        assert isinstance(result, Unmatched)
        assert result.reason.value == expected["unmatched"]
    else:
        fact = expected["fact"]
        assert isinstance(result, BounceFact)
        assert (result.message_id, result.attempt) == (1000, fact["attempt"])
        assert (result.kind.value, result.status) == (fact["kind"], fact["status"])
        assert fact["diagnostic_has"] in result.diagnostic
