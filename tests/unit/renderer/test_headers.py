"""Header fields: what is written reads back, on lines that every server takes."""

import re
from email import message_from_bytes, policy
from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.domain.errors import PermanentFailure
from services.renderer.headers import addr_spec, mailbox, phrase, unstructured

ANY = st.text(st.characters(codec="utf-8"), max_size=200)
ENCODED_WORD = re.compile(rb"=\?utf-8\?B\?[A-Za-z0-9+/=]+\?=")


def shown(text: str) -> str:
    """What of a text a header field can show: control characters are spaces, and none stand at the ends."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", text).strip()


@given(ANY)
def test_subject_reads_back_on_lines_of_76(text: str) -> None:
    """Any text comes back whole; encoded words are at most 75 characters, lines 76 (RFC 2047 §2)."""
    written = b"Subject: " + unstructured(text, len("Subject: "))
    assert all(len(line) <= 76 for line in written.split(b"\r\n"))
    assert str(make_header(decode_header(written.decode("ascii").removeprefix("Subject: ")))) == shown(text)


@given(ANY)
def test_encoded_words_never_split_a_character(text: str) -> None:
    """Each word is whole UTF-8 by itself, which is how readers decode them (RFC 2047 §5)."""
    for word in ENCODED_WORD.findall(unstructured(text)):
        ((raw, charset),) = decode_header(word.decode())
        assert charset == "utf-8"
        raw.decode("utf-8")


@given(ANY, st.sampled_from(["a@example.com", "a..b@docomo.ne.jp", "x" * 64 + "@" + "y" * 60 + ".example"]))
def test_mailbox_of_any_name_is_one_address(name: str, address: str) -> None:
    """No name adds, hides or changes an address."""
    field = b"To: " + mailbox(name, address) + b"\r\n\r\n"
    (found,) = message_from_bytes(field, policy=policy.default)["To"].addresses
    assert f"{found.username}@{found.domain}" == address
    # The standard library keeps the white space between encoded words, which RFC 2047 §6.2 has readers drop.
    assert "".join(found.display_name.split()) == "".join(shown(name).split())


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Hanako Yamada", b"Hanako Yamada"),
        ("Yamada, Hanako", b'"Yamada, Hanako"'),
        ('say "hi" \\', b'"say \\"hi\\" \\\\"'),
        ("J. Doe", b'"J. Doe"'),
        ("=?utf-8?B?eA==?=", b"=?utf-8?B?PT91dGYtOD9CP2VBPT0/PQ==?="),
        ("山田", b"=?utf-8?B?5bGx55Sw?="),
        ("a\r\nBcc: b@example.com", b'"a  Bcc: b@example.com"'),
        (" \t ", b""),
    ],
)
def test_phrase_is_bare_quoted_or_encoded(name: str, written: bytes) -> None:
    """Names stay readable where they can; what looks like an encoded word is encoded, so that it shows as typed."""
    assert phrase(name) == written


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("a@example.com", b"a@example.com"),
        ("a..b@docomo.ne.jp", b'"a..b"@docomo.ne.jp'),
        ('"a..b"@docomo.ne.jp', b'"a..b"@docomo.ne.jp'),
        ("abc.@ezweb.ne.jp", b'"abc."@ezweb.ne.jp'),
        (".abc@ezweb.ne.jp", b'".abc"@ezweb.ne.jp'),
        ("a@b,c@example.com", b'"a@b,c"@example.com'),
        ("a+b=c@example.com", b"a+b=c@example.com"),
    ],
)
def test_addr_spec_is_quoted_where_it_is_no_dot_atom(address: str, written: bytes) -> None:
    """Addresses of Japanese carriers are valid only in quotes (RFC 5322 §3.4.1)."""
    assert addr_spec(address) == written


@pytest.mark.parametrize(
    "address", ["", "a", "@x", "a@", "a@b;", "a@b c", "a\r\n@b", "a@b\n", "a@<b>", 'a@"b"', "a@b(c)"]
)
def test_addr_spec_that_would_be_something_else_is_refused(address: str) -> None:
    """An address that could end its field, or be two, is never written."""
    with pytest.raises(PermanentFailure) as caught:
        addr_spec(address)
    assert caught.value.reason == "unwritable_address"
