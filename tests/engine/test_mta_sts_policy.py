"""The texts of MTA-STS are read as RFC 8461 writes them, and nothing else passes for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.dispatcher.sts_policy import (
    LONGEST_AGE_S,
    MAX_POLICY_BYTES,
    StsInvalid,
    StsMode,
    StsPolicy,
    announced_id,
    parse_policy,
)

# RFC 8461 §3.2, its own example.
EXAMPLE = b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmx: backupmx.example.com\r\nmax_age: 604800\r\n"


def policy(*lines: str, end: str = "\n") -> bytes:
    """Write a policy with further lines."""
    return end.join(("version: STSv1", "mode: enforce", "max_age: 86400", *lines)).encode()


def test_policy_example_of_the_rfc_read() -> None:
    """The RFC's own example."""
    found, age_s = parse_policy(EXAMPLE, "7")
    assert found == StsPolicy(StsMode.ENFORCE, ("mail.example.com", "*.example.net", "backupmx.example.com"), "7")
    assert age_s == 604800


@pytest.mark.parametrize(
    "body",
    [
        EXAMPLE.replace(b"\r\n", b"\n"),
        EXAMPLE.removesuffix(b"\r\n"),
        EXAMPLE.replace(b": ", b":"),
        EXAMPLE.replace(b": ", b": \t "),
        EXAMPLE.replace(b"\r\n", b"  \r\n"),
        EXAMPLE + b"x-later.field: anything; at=all \xe2\x98\x83\r\n",
        EXAMPLE + b"mode: none\r\nmax_age: 1\r\nversion: STSv2\r\n",
        EXAMPLE + b"mx: MAIL.Example.COM\r\n",
        b"\r\n".join(reversed(EXAMPLE.removesuffix(b"\r\n").split(b"\r\n"))).replace(
            b"mx: backupmx.example.com\r\nmx: *.example.net\r\nmx: mail.example.com",
            b"mx: mail.example.com\r\nmx: *.example.net\r\nmx: backupmx.example.com",
        ),
    ],
    ids=["LF", "no last end", "no space", "spaces", "trailing", "extension", "first counts", "case", "any order"],
)
def test_policy_allowed_variations_read_the_same(body: bytes) -> None:
    """Line ends, blanks, order, unknown fields and repeated fields are as the grammar allows."""
    assert parse_policy(body, "7") == parse_policy(EXAMPLE, "7")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "version"),
        (b"<!DOCTYPE html>\n<html></html>\n", "malformed"),
        (policy(), "no mx"),
        (policy("mx:"), "malformed"),
        (policy("mx: a..example"), "mx is no name"),
        (policy("mx: *"), "mx is no name"),
        (policy("mx: *.*.example"), "mx is no name"),
        (policy("mx: mx.*.example"), "mx is no name"),
        (policy("mx: -a.example"), "mx is no name"),
        (policy("mx: " + "a" * 64 + ".example"), "mx is no name"),
        (policy("mx: " + "a.example" + ".b" * 130), "mx is no name"),
        (policy("mx: mx.example", "", "x: y"), "malformed"),
        (policy("mx: mx.example", " mode: none"), "malformed"),
        (policy("mx: mx.example\r", "\rx: y"), "malformed"),
        (policy("mx: mx.example", "no colon"), "malformed"),
        (policy("mx: mx.example", "x: nul\0"), "malformed"),
        (policy("mx: mx.example", "x" * 33 + ": y"), "malformed"),
        (policy("mx: mx.example", end="\r"), "malformed"),
        (policy("mx: mx.example").replace(b"STSv1", b"STSv2"), "version"),
        (policy("mx: mx.example").replace(b"STSv1", b"stsv1"), "version"),
        (policy("mx: mx.example").replace(b"version", b"Version"), "version"),
        (policy("mx: mx.example").replace(b"enforce", b"Enforce"), "mode"),
        (policy("mx: mx.example").replace(b"enforce", b"report"), "mode"),
        (policy("mx: mx.example").replace(b"86400", b"-1"), "max_age"),
        (policy("mx: mx.example").replace(b"86400", b"1e5"), "max_age"),
        (policy("mx: mx.example").replace(b"86400", b"9" * 11), "max_age"),
        (policy("mx: mx.example").replace(b"86400", "８６４００".encode()), "max_age"),
        (policy("mx: mx.example").replace(b"max_age", b"max-age"), "max_age"),
        (policy("mx: mx.example") + b"\nx: \xff", "UTF-8"),
        (policy("mx: mx.example") + b"\nx: " + b"y" * MAX_POLICY_BYTES, "large"),
    ],
)
def test_policy_outside_the_grammar_refused(body: bytes, problem: str) -> None:
    """What the RFC does not allow is no policy, and the failure names the trouble."""
    with pytest.raises(StsInvalid, match=problem):
        parse_policy(body, "7")


def test_policy_mode_none_needs_no_mx() -> None:
    """A policy that is withdrawn names no hosts."""
    body = b"version: STSv1\nmode: none\nmax_age: 86400\n"
    assert parse_policy(body, "8") == (StsPolicy(StsMode.NONE, (), "8"), 86400)


def test_policy_max_age_bounded_to_a_year() -> None:
    """Nobody binds himself for longer than the RFC allows."""
    assert parse_policy(policy("mx: mx.example").replace(b"86400", b"9999999999"), "1")[1] == LONGEST_AGE_S
    assert parse_policy(policy("mx: mx.example").replace(b"86400", b"0"), "1")[1] == 0


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("mail.example.com", True),
        ("MAIL.Example.com.", True),
        ("a.example.net", True),
        ("example.net", False),
        ("a.b.example.net", False),
        ("xexample.net", False),
        ("mail.example.com.evil.example", False),
        ("other.example.com", False),
        ("net", False),
        ("", False),
        ("*.example.net", True),
    ],
)
def test_policy_allows_host_wildcard_is_one_label(host: str, allowed: bool) -> None:
    """A wildcard stands for one label in front, no more and no less."""
    assert parse_policy(EXAMPLE, "7")[0].allows(host) is allowed


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        (["v=STSv1;id=1"], "1"),
        (["v=STSv1 ; id=1"], None),
        (["v=STSv1; \t id=1 ; ext=va!ue;"], "1"),
        (["v=STSv1; id=1; id=2"], "1"),
        (["v=spf1 -all", "v=STSv1; id=1;", "v=STSv2; id=9"], "1"),
        (["v=STSv1; id=1;", "v=STSv1; id=1;"], None),
        ([], None),
        (["v=STSv1"], None),
        (["v=STSv1;"], None),
        (["v=STSv1; id="], None),
        (["v=STSv1; id=a-b"], None),
        (["v=STSv1; id=" + "1" * 33], None),
        (["v=STSv1; ID=1"], None),
        (["V=STSv1; id=1"], None),
        ([" v=STSv1; id=1"], None),
        (["v=STSv1; id=1; ; x=y"], None),
        (["v=STSv1; id=1; x"], None),
        (["v=STSv1; id=1; x=a b"], None),
    ],
)
def test_record_exactly_one_by_the_grammar(texts: list[str], found: str | None) -> None:
    """One record that begins as it must, with an id; any other number of them, or form, is no announcement."""
    if found is None:
        with pytest.raises(StsInvalid):
            announced_id(texts)
    else:
        assert announced_id(texts) == found


_label = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
_name = st.lists(_label, min_size=1, max_size=4).map(".".join)
_pattern = st.builds(lambda wild, name: f"*.{name}" if wild else name, st.booleans(), _name)


@given(
    st.sampled_from([StsMode.ENFORCE, StsMode.TESTING]),
    st.lists(_pattern, min_size=1, max_size=5, unique=True),
    st.integers(0, LONGEST_AGE_S),
    st.sampled_from(["\n", "\r\n"]),
    st.randoms(use_true_random=False),
)
def test_policy_written_then_read_is_the_same(
    mode: StsMode, mx: list[str], age_s: int, end: str, order: object
) -> None:
    """Whatever the grammar can say is read as it was meant, and each host that a pattern stands for is allowed."""
    lines = [f"version: STSv1{end}", f"mode: {mode}{end}", f"max_age: {age_s}{end}"]
    order.shuffle(lines)  # type: ignore[attr-defined]
    body = "".join([*lines, *(f"mx: {pattern}{end}" for pattern in mx)])
    found, found_age_s = parse_policy(body.encode(), "x")
    assert (found.mode, found.mx, found_age_s) == (mode, tuple(mx), age_s)
    for pattern in mx:
        assert found.allows(pattern.replace("*", "any").upper())


@given(st.one_of(st.binary(max_size=300), st.text(max_size=200).map(lambda text: policy("mx: a.example", text))))
def test_policy_any_bytes_read_or_refused(body: bytes) -> None:
    """No bytes of a stranger's server make the reader fail, or give a policy without hosts."""
    try:
        found, age_s = parse_policy(body, "x")
    except StsInvalid:
        return
    assert found.mx or found.mode is StsMode.NONE
    assert 0 <= age_s <= LONGEST_AGE_S


@given(st.lists(st.one_of(st.text(max_size=60), st.text(max_size=40).map(lambda text: f"v=STSv1;{text}")), max_size=3))
def test_record_any_text_read_or_refused(texts: list[str]) -> None:
    """No TXT records make the reader fail; an id is of letters and digits."""
    try:
        found = announced_id(texts)
    except StsInvalid:
        return
    assert found.isalnum()
    assert found.isascii()
    assert len(found) <= 32
