"""Progress of a command on stderr: a bar on a terminal, else a plain line every few seconds."""

import sys
from time import monotonic
from types import TracebackType
from typing import Final, Self

from django.core.management.base import OutputWrapper
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

PLAIN_EVERY_SECONDS: Final = 5.0


class ProgressDisplay:
    """Shows how many of how many rows are done, with the rate and the time left."""

    def __init__(self, stderr: OutputWrapper, label: str, unit: str) -> None:
        self._stderr, self._label, self._unit = stderr, label, unit
        self._started = self._shown_at = monotonic()
        self._start = 0
        self._bar: Progress | None = None
        if stderr.isatty():
            columns = [
                TextColumn("{task.description}"),
                BarColumn(),
                _CountColumn(unit),
                TimeRemainingColumn(),
            ]
            self._bar = Progress(*columns, console=Console(file=sys.stderr))

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, done: int, total: int | None) -> None:
        """Start at what an earlier run has done, which counts for no rate."""
        self._start = done
        if self._bar is not None:
            self._bar.add_task(self._label, total=total, completed=done)

    def update(self, done: int, total: int | None) -> None:
        """Show how far it is; a total is what was there at the beginning, or an estimate, and may be passed."""
        total = None if total is None else max(total, done)
        now = monotonic()
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[-1], completed=done, total=total)
        elif now - self._shown_at >= PLAIN_EVERY_SECONDS:
            self._shown_at = now
            rate = (done - self._start) / (now - self._started)
            self._stderr.write(
                f"{self._label}: {_counted(done, total, self._unit)}{_pace(done, total, rate)}"
            )

    def line(self, text: str) -> None:
        """Write a line of its own, above the bar."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            self._stderr.write(text)


class _CountColumn(ProgressColumn):
    def __init__(self, unit: str) -> None:
        self._unit = unit
        super().__init__()

    def render(self, task: Task) -> Text:
        total = None if task.total is None else int(task.total)
        rate = f" {task.speed:,.0f}/s" if task.speed else ""
        return Text(_counted(int(task.completed), total, self._unit) + rate)


def _counted(done: int, total: int | None, unit: str) -> str:
    return f"{done:,} {unit}" if total is None else f"{done:,} of {total:,} {unit}"


def _pace(done: int, total: int | None, rate: float) -> str:
    left = f", {(total - done) / rate:,.0f} s left" if total and rate and total > done else ""
    return f", {rate:,.0f}/s{left}"
