"""A flame graph as an SVG, drawn from stacks: what runs, below it who called it, as wide as its share of the samples.

Promises: one file without scripts, which any browser shows; resting the mouse on a frame tells it in full. The colour
is that of the step (``steps``) to which the frame's stack belongs. Frames narrower than ``_NARROWEST`` are left out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape

from benchmarks.pipeline_parts.steps import STEPS

_WIDTH, _ROW, _TOP = 1200, 17, 46
_NARROWEST = 0.6
_CHARACTER = 6.3
_ORDER = [step for step, _ in STEPS]
_GOLDEN_ANGLE = 137.5


@dataclass(slots=True)
class Node:
    """A frame in its place, with the samples below it."""

    samples: int = 0
    steps: dict[str, int] = field(default_factory=dict)
    callees: dict[str, "Node"] = field(default_factory=dict)

    def add(self, samples: int, step: str) -> None:
        """Count samples."""
        self.samples += samples
        self.steps[step] = self.steps.get(step, 0) + samples

    def depth(self) -> int:
        """Count the rows from here on."""
        return 1 + max((node.depth() for node in self.callees.values()), default=0)


def folded(stacks: Iterable[tuple[list[str], int, str]]) -> Node:
    """Put stacks (frames, samples, step) together where they begin alike."""
    root = Node()
    for frames, samples, step in stacks:
        node = root
        node.add(samples, step)
        for frame in frames:
            node = node.callees.setdefault(frame, Node())
            node.add(samples, step)
    return root


def svg(title: str, root: Node) -> str:
    """Draw it."""
    rows = root.depth()
    height = _TOP + rows * _ROW + 4
    body = "".join(_boxes("all", root, 0.0, height - 4 - _ROW, _WIDTH / max(1, root.samples), root.samples))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        'font-family="monospace" font-size="10.5">\n'
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>\n'
        f'<text x="{_WIDTH / 2:.0f}" y="18" text-anchor="middle" font-size="14">{escape(title)}</text>\n'
        f"{_legend(root)}{body}</svg>\n"
    )


def colour(step: str) -> str:
    """Give a step its colour, the same in every graph."""
    hue = (_ORDER.index(step) if step in _ORDER else len(_ORDER)) * _GOLDEN_ANGLE % 360
    return f"hsl({hue:.0f} 62% 74%)"


def _legend(root: Node) -> str:
    shown, x = [], 6.0
    for step, samples in sorted(root.steps.items(), key=lambda item: -item[1]):
        text = f"{step} {samples / root.samples:.0%}"
        if x + len(text) * _CHARACTER > _WIDTH:
            break
        shown.append(f'<rect x="{x:.0f}" y="27" width="10" height="10" fill="{colour(step)}"/>')
        shown.append(f'<text x="{x + 13:.0f}" y="36">{escape(text)}</text>\n')
        x += 24 + len(text) * _CHARACTER
    return "".join(shown)


def _boxes(name: str, node: Node, x: float, y: int, scale: float, total: int) -> Iterator[str]:
    width = node.samples * scale
    if width < _NARROWEST:
        return
    letters = int((width - 4) / _CHARACTER)
    step = max(node.steps, key=lambda step: node.steps[step]) if node.steps else ""
    short = name.partition(" (")[0]
    label = f'<text x="{x + 2:.1f}" y="{y + 12}">{escape(short[:letters])}</text>' if letters > 2 else ""
    yield (
        f"<g><title>{escape(name)}: {node.samples / total:.1%}</title>"
        f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_ROW - 1}" fill="{colour(step)}"/>{label}</g>\n'
    )
    for callee, below in sorted(node.callees.items()):
        yield from _boxes(callee, below, x, y - _ROW, scale, total)
        x += below.samples * scale
