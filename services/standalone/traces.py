"""Finds the launch's trace among the spans that the processes wrote down."""

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

HOPS = ("POST /v1/campaigns/{campaign_id}/launch", "render.chunk", "dispatch.batch", "smtp.transaction")
"""One name for each hop, from the REST call to the SMTP reply."""


@dataclass(frozen=True, slots=True)
class LaunchTrace:
    """The trace that has most of the hops."""

    trace_id: str
    spans: int
    missing: tuple[str, ...]


def launch_trace(path: Path) -> LaunchTrace:
    """Look through a file of spans; a half-written last line is skipped."""
    names: defaultdict[str, list[str]] = defaultdict(list)
    if path.exists():
        with path.open(encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    span = json.loads(line)
                    names[span["trace_id"]].append(span["name"])
    found = [
        LaunchTrace(trace_id, len(spans), tuple(hop for hop in HOPS if hop not in spans))
        for trace_id, spans in names.items()
    ]
    return min(found, key=lambda trace: (len(trace.missing), -trace.spans), default=LaunchTrace("", 0, HOPS))
