"""The file inside a multipart body, however the body is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.problems import Problem
from services.api.upload import _Envelope


def body(content: bytes, name: str = "people.csv", boundary: str = "b7") -> bytes:
    """A form with a field before the file and one after it."""
    field = f'--{boundary}\r\nContent-Disposition: form-data; name="note"\r\n\r\nnot this\r\n'
    file = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: text/csv\r\n\r\n'
    second = f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="f2"; filename="second.csv"\r\n\r\nnor this'
    return (field + file).encode() + content + (second + f"\r\n--{boundary}--\r\n").encode()


def _finished(envelope: _Envelope, parts: list[bytes]) -> None:
    for part in parts:
        envelope.feed(part)
    envelope.finish()


@given(st.binary(max_size=300) | st.text(alphabet="-b7\r\n", max_size=60).map(str.encode), st.integers(1, 50))
def test_file_comes_out_whole_whatever_the_chunks(content: bytes, size: int) -> None:
    """The first file alone, byte by byte, also where it looks like a boundary."""
    if b"\r\n--b7" in b"\r\n" + content:
        return
    whole = body(content)
    envelope = _Envelope(b"b7")
    pieces = [piece for at in range(0, len(whole), size) for piece in envelope.feed(whole[at : at + size])]
    assert envelope.finish() == "people.csv"
    assert b"".join(pieces) == content


@given(st.binary(max_size=300))
def test_nonsense_is_a_problem(content: bytes) -> None:
    """Bytes that are no form end in 422, never in another exception."""
    envelope = _Envelope(b"b7")
    with pytest.raises(Problem) as caught:
        _finished(envelope, [content])
    assert (caught.value.status, caught.value.slug) == (422, "invalid-multipart")


def test_header_without_end_is_refused_in_bounded_memory() -> None:
    """A part whose header never ends is given up long before it fills the memory."""
    envelope = _Envelope(b"b7")
    with pytest.raises(Problem):
        _finished(envelope, [b"--b7\r\nX: ", *[b"x" * 1000] * 1000])
    assert len(envelope._value) < 20_000


def test_envelope_needs_a_boundary() -> None:
    """Without one there is nothing to look for."""
    with pytest.raises(Problem):
        _Envelope(b"")
