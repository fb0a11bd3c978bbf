"""Fill the table of ``docs/reliability.md`` from ``benchmarks/out/chaos.json``: ``python scripts/chaos_table.py``.

Promises: everything between the markers comes from that file; nothing else of the page is touched.
Fails: ``ValueError`` where the page has no markers.
"""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reliability.md"
RESULTS = ROOT / "benchmarks" / "out" / "chaos.json"
BEGIN, END = "<!-- chaos:begin -->", "<!-- chaos:end -->"
COLUMNS = ("launched", "accepted", "lost", "twice", "contradicted", "unknown", "in_flight_at_kills", "recovery_s")


def table(part: dict[str, Any], title: str) -> list[str]:
    """The lines of one run's table."""
    lines = [f"{title}:", "", f"| no. | recipients each | {' | '.join(COLUMNS)} | seconds |", "|" + "---|" * 11]
    for number, found in part["scenarios"].items():
        cells = " | ".join("–" if found[column] is None else f"{found[column]:,}" for column in COLUMNS)
        lines.append(f"| {number} | {found['people']:,} | {cells} | {found['seconds']:.0f} |")
    return [*lines, ""]


def main() -> None:
    """Write the page."""
    text = PAGE.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{PAGE} has no {BEGIN} and {END}")
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    short = results["short"]
    lines = table(short, f"`make chaos-short`, all of it in {short['seconds']:.0f} s")
    if "full" in results:
        lines += table(results["full"], "`make chaos`, two worlds beside each other; the newest run of each scenario")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text("\n".join([before + BEGIN, "", *lines, END]).rstrip("\n") + after, encoding="utf-8")


if __name__ == "__main__":
    main()
