"""The demo's witnesses: a surplus, a lack and a stranger are each told, and a broken trace is one."""

import json
from pathlib import Path

from services.standalone.audit import equal, nobody, same, witness
from services.standalone.findings import all_hold, check_trace
from services.standalone.sandbox.journal import Entry, Journal, What, read_journal
from services.standalone.traces import HOPS, launch_trace


def test_witness_counts_a_second_copy_and_keeps_the_last_refusal() -> None:
    """A mail that was taken twice is seen twice, whatever its spelling; deferrals and reports are told apart."""
    entries = [
        Entry(What.DEFERRED, "a@x.example", "s", "451"),
        Entry(What.ACCEPTED, "a@x.example", "s", "250", peer="127.0.0.11", ehlo="mta1"),
        Entry(What.ACCEPTED, '"A"@x.example', "s", "250", peer="127.0.0.11", ehlo="mta1"),
        Entry(What.REJECTED, "b@x.example", "s", "550 5.1.1"),
        Entry(What.DSN_SENT, "a@x.example", "s", "250"),
        Entry(What.REPORT_LOST, "c@x.example", "s", "550"),
    ]
    seen = witness(entries)
    assert seen.accepted == {"a@x.example": 2}
    assert (seen.deferred, seen.rejected) == ({"a@x.example"}, {"b@x.example": "550 5.1.1"})
    assert (seen.returned, seen.lost_reports) == ({"a@x.example"}, 1)
    assert seen.clients == {("127.0.0.11", "mta1")}


def test_findings_name_who_is_on_one_side_only() -> None:
    """Equal sums of different people do not hold."""
    assert same("people", ["a", "b"], ["b", "a"]).holds
    swapped = same("people", ["a", "b"], ["b", "c"])
    assert not swapped.holds
    assert "a, c" in swapped.detail
    assert not nobody("none", ["x"]).holds
    assert not equal("figures", 1, 2).holds
    assert not all_hold([equal("figures", 1, 1), swapped])


def test_journal_half_written_line_is_skipped(tmp_path: Path) -> None:
    """A sandbox that was killed while writing does not hide what it wrote before; an offset reads a part."""
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.write(Entry(What.ACCEPTED, "a@x.example", "s", "250"))
    offset = path.stat().st_size
    journal.write(Entry(What.REJECTED, "b@x.example", "s", "550"))
    journal.close()
    with path.open("ab") as file:
        file.write(b'{"what": "acc')
    assert [entry.recipient for entry in read_journal(path)] == ["a@x.example", "b@x.example"]
    assert [entry.what for entry in read_journal(path, offset)] == [What.REJECTED]


def test_launch_trace_without_a_hop_is_a_finding_that_does_not_hold(tmp_path: Path) -> None:
    """Hops in different traces are not one trace."""
    path = tmp_path / "traces.jsonl"
    spans = [{"trace_id": "1", "name": name} for name in HOPS[:3]] + [{"trace_id": "2", "name": HOPS[3]}]
    path.write_text("".join(json.dumps(span) + "\n" for span in spans) + '{"trace', encoding="utf-8")
    broken = check_trace(launch_trace(path))
    assert not broken.holds
    assert HOPS[3] in broken.detail
    path.write_text("".join(json.dumps({"trace_id": "1", "name": name}) + "\n" for name in HOPS), encoding="utf-8")
    assert check_trace(launch_trace(path)).holds
    assert not check_trace(launch_trace(tmp_path / "none")).holds
