"""What people see while a run works: sentences, progress bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

PLAIN_EVERY_S = 2.0


class Bar(Protocol):
    """Shows how far something is."""

    def at(self, done: int, note: str = "") -> None:
        """Show a new state."""


class Screen:
    """One console."""

    def __init__(self, console: Console | None = None) -> None:
        """Write to standard output unless told otherwise."""
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._started = time.monotonic()

    def step(self, text: str) -> None:
        """Begin a chapter."""
        self.console.print(f"[dim]{self.elapsed_s:5.1f} s[/dim]  [bold]{text}[/bold]")

    def say(self, text: str) -> None:
        """A sentence of the chapter."""
        self.console.print(f"         {text}")

    def report(self, text: str) -> None:
        """A sentence that is no markup, such as a process's last words."""
        self.console.print(f"         {text}", markup=False)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Bar]:
        """A progress bar, or on something that is no terminal a line every few seconds and one at the end."""
        if self.console.is_terminal:
            with _TerminalBar(self.console, title, total) as bar:
                yield bar
            return
        plain = _PlainBar(self, title, total)
        yield plain
        plain.end()


class _TerminalBar:
    def __init__(self, console: Console, title: str, total: int) -> None:
        self._progress = Progress(
            TextColumn("         {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self._task: TaskID = self._progress.add_task(title, total=total, note="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def at(self, done: int, note: str = "") -> None:
        self._progress.update(self._task, completed=done, note=note)


class _PlainBar:
    def __init__(self, screen: Screen, title: str, total: int) -> None:
        self._screen = screen
        self._title = title
        self._total = total
        self._shown_at = time.monotonic()
        self._last = (0, "")
        self._shown = (-1, "")

    def at(self, done: int, note: str = "") -> None:
        self._last = (done, note)
        if time.monotonic() - self._shown_at > PLAIN_EVERY_S:
            self.end()

    def end(self) -> None:
        if self._last != self._shown:
            done, note = self._last
            self._screen.say(f"{self._title} {done}/{self._total} {note}".rstrip())
            self._shown, self._shown_at = self._last, time.monotonic()
