"""The arithmetic of ``benchmarks.pipeline``: counters, kept mails, ratios, steps, flame graphs."""

from pathlib import Path
from xml.etree import ElementTree as ET

import dkim
import pytest

from benchmarks.pipeline_parts import comparison, flame, kept_mail, steps
from benchmarks.pipeline_parts.counting_sink import last_count
from benchmarks.pipeline_parts.signing_key import RSA, SigningKey

SINKS_LINES = (
    b"X-Client-Addr: 127.0.0.1\nX-Client-Proto: ESMTP\nX-Helo-Args: out1.example\nX-Mail-Args: <a@b.example>\n"
    b"X-Rcpt-Args: <c@d.example>\nReceived: from out1.example ([127.0.0.1])\n\tby smtp-sink (smtp-sink) with ESMTP id 1;\n"
    b"\tWed, 25 Nov 2026 03:43:24 +0000 (UTC)\n"
)
MAIL = b"From: News <news@bench.example>\nX-Mail-Id: 7\nSubject: hi\n\nX-Client-Addr: is said in the body\n\nDKIM-Signature: no\n"


@pytest.fixture(scope="module")
def key() -> SigningKey:
    """A key, which takes a while to make."""
    return SigningKey.made_for("bench.example", RSA)


def signed(key: SigningKey) -> bytes:
    """Sign ``MAIL`` with dkimpy; gives it as it is on the wire."""
    wire = MAIL.replace(b"\n", b"\r\n")
    field = dkim.sign(wire, key.selector.encode(), key.domain.encode(), key.private_pem.encode())
    return bytes(field) + wire


@pytest.mark.parametrize(
    ("tail", "count"),
    [
        (b"", 0),
        (b"sess=1 quit=0 mesg=1\r", 1),
        (b"sess=1 quit=0 mesg=9\rsess=1 quit=0 mesg=10\r", 10),
        (b"sess=1 quit=0 mesg=99\rsess=1 quit=0 mesg=10", 99),
        (b"g=7\rsess=2 quit=1 me", 0),
    ],
)
def test_last_count_of_a_cut_off_tail_is_the_last_whole_counter(tail: bytes, count: int) -> None:
    """A counter whose end is not written yet would be read as too small a number."""
    assert last_count(tail) == count


def test_kept_mail_as_sent_has_nothing_of_the_sink() -> None:
    """What the sink adds goes, and what looks like it in the mail stays."""
    assert kept_mail.as_sent(SINKS_LINES + MAIL) == MAIL.replace(b"\n", b"\r\n")


def test_unsigned_mail_is_the_mail_before_it_was_signed(key: SigningKey) -> None:
    """The signature's folded field goes, the body's line of that name stays."""
    kept = SINKS_LINES + signed(key).replace(b"\r\n", b"\n")
    assert kept_mail.unsigned(kept) == MAIL


def test_problem_with_a_right_signature_is_none(key: SigningKey) -> None:
    """A mail that was signed by somebody else's software verifies."""
    assert kept_mail.problem(signed(key), {key.record_name: key.key.record().encode()}) == ""


def test_problem_with_a_changed_body_tells_which_signature(key: SigningKey) -> None:
    """A benchmark of broken signatures must not pass."""
    changed = signed(key).replace(b"is said", b"is sent")
    assert "signature 0" in kept_mail.problem(changed, {key.record_name: key.key.record().encode()})


def test_problem_with_missing_and_surplus_signatures_counts_them(key: SigningKey) -> None:
    """Unsigned where it should be signed, and signed where it should not be."""
    unsigned = MAIL.replace(b"\n", b"\r\n").replace(b"DKIM-Signature", b"X")
    assert "0 signatures" in kept_mail.problem(unsigned, {key.record_name: b""})
    assert "1 signatures" in kept_mail.problem(signed(key).replace(b"\r\nDKIM-Signature: no", b""), {})


def test_check_of_lost_mails_ends_the_benchmark(tmp_path: Path) -> None:
    """A mail that did not arrive is no slow mail."""
    (tmp_path / "mail.1").write_bytes(SINKS_LINES + MAIL)
    with pytest.raises(SystemExit, match="1 mails arrived of 2"):
        kept_mail.check("somebody", [tmp_path / "mail.1"], 2, [])


def test_ratio_is_made_within_rounds_before_the_median() -> None:
    """A round in which the machine was slow for both does not change it."""
    rounds = [{"a": {"emails_per_s": a}, "b": {"emails_per_s": b}} for a, b in ((40, 10), (4, 1), (90, 10))]
    assert comparison.ratio(rounds, "a", "b") == 4


def test_medians_leave_out_what_is_no_number() -> None:
    """Of each figure its own median; texts and tables are not averaged."""
    rounds = [{"a": {"seconds": s, "dkim": "rsa", "cpu": {"x": 1}}} for s in (3.0, 1.0, 2.0)]
    assert comparison.medians(rounds) == {"a": {"seconds": 2.0}}


def test_order_of_rounds_begins_with_another_each_time() -> None:
    """Nobody always follows the same one, and nobody is left out."""
    names = ["a", "b", "c"]
    assert [comparison.order(names, n) for n in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]


def test_shares_go_to_the_innermost_known_frame_without_waiting_threads() -> None:
    """A signature counts for its step and not for MIME, which called it; who waits counts for nothing."""
    raw = (
        "run (/x/asyncio/runners.py:1);write (/x/services/renderer/mime.py:1);DkimSigner._signature (/x/services/renderer/dkim.py:1);"
        "bn_mul (/y/cryptography/_rust.so) 6\n"
        "run (/x/asyncio/runners.py:1);write (/x/services/renderer/mime.py:2) 3\n"
        "run (/x/asyncio/runners.py:1);uv_run (/z/libuv/core.c:4);epoll_pwait (/lib/libc.so.6) 90\n"
        "run (/x/asyncio/runners.py:1);uv_run (/z/libuv/core.c:4);write (/lib/libc.so.6) 2\n"
        "main (/x/other.py:1) 1\n"
    )
    assert steps.shares(raw) == {"dkim_signature": 0.5, "mime": 0.25, "sockets": 2 / 12, steps.OTHER: 1 / 12}
    assert steps.costs(raw, 120.0)["mime"] == {"share": 0.25, "cpu_us_per_email": 30.0}


def test_step_of_a_line_is_told_by_its_text(tmp_path: Path) -> None:
    """Compression and serialisation stand in one function; the line's text tells which of them it is."""
    codec = tmp_path / "hayabin/contracts/codec.py"
    codec.parent.mkdir(parents=True)
    codec.write_text("body = message.SerializeToString()\nreturn zstandard.ZstdCompressor().compress(body)\n")
    assert [steps.step_of([f"encode ({codec}:{line})"]) for line in (1, 2)] == ["protobuf", "zstd"]


def test_drawn_frames_have_no_interpreter_and_no_place_of_this_machine() -> None:
    """A picture that is kept names what is ours, not where it stood."""
    frames = [
        "send (/home/somebody/hayabin/services/dispatcher/smtp_session.py:9)",
        "_PyEval_EvalFrame (/opt/lib/libpython3.11.so.1.0)",
        "0x7f01 (/lib/libc.so.6)",
        "gc_collect_main (/opt/lib/libpython3.11.so.1.0)",
    ]
    assert steps.drawn(frames)[0] == "send (services/dispatcher/smtp_session.py)"
    assert [frame.partition(" ")[0] for frame in steps.drawn(frames)] == ["send", "gc_collect_main"]


def test_flame_graph_is_as_wide_as_its_samples() -> None:
    """Callees share their caller's width, and names cannot break the picture."""
    root = flame.folded([(["main", "<a> & b"], 3, "smtp"), (["main", "c"], 1, "sql")])
    widths = {}
    picture = ET.fromstring(flame.svg("x < y", root))  # noqa: S314 - it is our own
    for group in picture.iter("{http://www.w3.org/2000/svg}g"):
        title, box = group[0].text or "", group[1]
        widths[title.partition(":")[0]] = float(box.attrib["width"])
    assert widths == {"all": 1200.0, "main": 1200.0, "<a> & b": 900.0, "c": 300.0}
    assert root.steps == {"smtp": 3, "sql": 1}
    assert flame.colour("smtp") == flame.colour("smtp") != flame.colour("sql")
