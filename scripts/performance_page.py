"""Fill docs/performance.md and its plot from ``benchmarks/out/*.json``: ``python scripts/performance_page.py``.

Promises: everything between a benchmark's markers comes from its file, the plot from ``pipeline.json``; a benchmark
that has no file yet says so; nothing else of the page is touched.
Fails: ``ValueError`` where the page lacks the markers of a benchmark.
"""

import json
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "performance" / "pipeline.svg"
RESULTS = ROOT / "benchmarks" / "out"
BENCHMARKS = (
    "pipeline", "scale", "replicas", "latency", "slow_sink", "tracker", "ledger", "windows", "segments", "csv_import",
    "api",
)  # fmt: skip
ROW_PX, NAME_PX, BAR_PX = 26, 210, 430


def lines_of(name: str) -> list[str]:
    """What stands between the markers of a benchmark."""
    file = RESULTS / f"{name}.json"
    if not file.exists():
        return [f"Not measured yet: `make bench BENCH={name}`."]
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    machine, before = found["machine"], found["load_average"]["before"][0]
    head = (
        f"`make bench BENCH={name}`, {found['seconds']:.0f} s, on {machine['cores']} cores ({machine['processor']}), "
        f"Python {machine['python']}; load average before: {before}."
    )
    rows = ["| part | what | measured | goal | met |", "|---|---|---|---|---|"]
    for goal in found["goals"]:
        met = "yes" if goal["met"] else "**no**"
        rows.append(f"| {goal['part']} | {goal['what']} | {goal['measured']} | {goal['goal']} | {met} |")
    return [head, "", *rows, *(_medians(found) if name == "pipeline" else [])]


def _medians(found: dict[str, Any]) -> list[str]:
    """The rounds of the pipeline, and where its CPU goes."""
    rows = ["", "| side | emails/s | CPU an email, all processes (us) |", "|---|---|---|"]
    for side, median in found["medians"].items():
        rows.append(f"| {side} | {median['emails_per_s']:,.0f} | {median['cpu_us_per_email_total']:,.0f} |")
    rows += ["", "| process | CPU an email (us) |", "|---|---|"]
    rows += [f"| {name} | {us:,.0f} |" for name, us in found["main"]["cpu_us_per_email"].items()]
    rows += ["", "| process | step | CPU an email (us) |", "|---|---|---|"]
    for process, steps in found["steps"].items():
        if isinstance(steps, dict):
            rows += [f"| {process} | {step} | {said['cpu_us_per_email']:,.0f} |" for step, said in steps.items()]
    return rows


def plot(medians: dict[str, Any]) -> str:
    """Bars of emails a second."""
    rates = {side: float(median["emails_per_s"]) for side, median in medians.items()}
    most = max(rates.values())
    height = ROW_PX * len(rates) + 10
    style = 'font-family="sans-serif" font-size="13" role="img" aria-label="emails a second by side"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {NAME_PX + BAR_PX + 90} {height}" {style}>',
        f'<rect width="100%" height="{height}" fill="#fff"/>',
    ]
    for number, (side, rate) in enumerate(rates.items()):
        y, width = 5 + number * ROW_PX, rate / most * BAR_PX
        colour = "#0b6e4f" if side.startswith("hayabin") else "#9aa5b1"
        parts += [
            f'<text x="{NAME_PX - 8}" y="{y + 16}" text-anchor="end">{escape(side)}</text>',
            f'<rect x="{NAME_PX}" y="{y + 3}" width="{width:.1f}" height="{ROW_PX - 8}" fill="{colour}"/>',
            f'<text x="{NAME_PX + width + 6:.1f}" y="{y + 16}">{rate:,.0f}/s</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    """Write the page and the plot."""
    text = PAGE.read_text(encoding="utf-8")
    for name in BENCHMARKS:
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if begin not in text or end not in text:
            raise ValueError(f"{PAGE} has no {begin} and {end}")
        before, after = text.split(begin)[0], text.split(end)[1]
        text = "\n".join([before + begin, "", *lines_of(name), "", end]) + after
    PAGE.write_text(text, encoding="utf-8")
    pipeline = RESULTS / "pipeline.json"
    if pipeline.exists():
        PLOT.parent.mkdir(exist_ok=True)
        PLOT.write_text(plot(json.loads(pipeline.read_text(encoding="utf-8"))["medians"]), encoding="utf-8")


if __name__ == "__main__":
    main()
