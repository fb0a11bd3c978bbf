"""The bodies of unsubscribe requests: bounded, in both encodings, whatever is sent."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from services.tracker.form_body import BODY_MAX_BYTES, BodyTooLong, BodyUnreadable, read_form

URL_ENCODED = "application/x-www-form-urlencoded"


def request(body: bytes, content_type: str, chunk: int = 1000) -> Request:
    """A POST whose body arrives in chunks."""
    parts = [body[start : start + chunk] for start in range(0, len(body), chunk)] or [b""]

    async def receive() -> dict[str, Any]:
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    headers = [(b"content-type", content_type.encode("latin-1", "replace"))]
    return Request({"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}, receive)


async def test_form_url_encoded_is_read() -> None:
    """The kind that browsers send for our page."""
    assert (await read_form(request(b"List-Unsubscribe=One-Click&scope=list", URL_ENCODED))).texts() == {
        "List-Unsubscribe": "One-Click",
        "scope": "list",
    }


async def test_form_multipart_is_read() -> None:
    """The kind that RFC 8058 prefers."""
    body = b'--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n'
    form = await read_form(request(body, "multipart/form-data; boundary=x", chunk=7))
    assert form.texts() == {"List-Unsubscribe": "One-Click"}


async def test_form_that_is_too_long_is_refused_early() -> None:
    """No more than the bound is kept, in whatever pieces it comes."""
    with pytest.raises(BodyTooLong):
        await read_form(request(b"a=" + b"x" * BODY_MAX_BYTES, URL_ENCODED))


@settings(deadline=None)
@given(
    st.binary(max_size=600),
    st.sampled_from([URL_ENCODED, "multipart/form-data", "multipart/form-data; boundary=x", "text/plain", "é"]),
)
async def test_form_of_any_bytes_is_fields_or_a_named_refusal(body: bytes, content_type: str) -> None:
    """Nothing that is sent raises anything that the endpoint does not answer."""
    try:
        form = await read_form(request(body, content_type))
    except BodyUnreadable:
        return
    assert all(isinstance(value, str) for value in form.texts().values())
