"""A look at one renderer and the dispatcher while a campaign is sent: the CPU of each step, and flame graphs.

Promises: the shares are those of the watched run, the microseconds those of the main measure, which nobody watched.
"""

from pathlib import Path
from typing import Any

from benchmarks.pipeline_parts import flame, steps
from benchmarks.pipeline_parts.bench import PROFILED, Bench, say
from benchmarks.pipeline_parts.counting_sink import CountingSink
from benchmarks.report import ROOT

FLAMES = ROOT / "docs" / "performance"


def look(bench: Bench, sink: CountingSink, folder: Path, whole: dict[str, Any], *, draw: bool) -> dict[str, Any]:
    """Let py-spy look at a renderer and the dispatcher; gives the CPU of each step."""
    names = ("dispatcher", "renderer-0")
    pids = {s.name: s.process.pid for s in bench.ours.system.services if s.name in names}
    draft = bench.drafts[PROFILED]
    files = {name: folder / f"{name}.raw" for name in names}
    with steps.watched(pids, files):
        watched = bench.ours.send(draft, sink)
    raw = {name: file.read_text() for name, file in files.items()}
    say(f"watched by py-spy: {watched['emails_per_s']}/s")
    if draw:
        FLAMES.mkdir(parents=True, exist_ok=True)
        for name, text in raw.items():
            drawn = flame_graph(name, text)
            (FLAMES / f"flame-{name.partition('-')[0]}.svg").write_text(drawn)
    cpu_us = dict(whole["cpu_us_per_email"])
    renderers = [name for name in cpu_us if name.startswith("renderer")]
    both = {"dispatcher": cpu_us["dispatcher"], "renderer-0": sum(cpu_us[name] for name in renderers)}
    tables = {name.partition("-")[0]: steps.costs(raw[name], both[name]) for name in names}
    return {"emails_per_s_while_watched": watched["emails_per_s"], **tables}


def flame_graph(name: str, raw: str) -> str:
    """Draw what worked, function by function."""
    stacks = [(steps.drawn(frames), samples, steps.step_of(frames)) for frames, samples in steps.working_stacks(raw)]
    title = f"{name.partition('-')[0]}: samples of working threads while a campaign is sent"
    return flame.svg(title, flame.folded(stacks))
