"""Processes that record one file together: each its share of the batches, committed in the order of the file."""

import multiprocessing
import os
import pickle
import select
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from multiprocessing.sharedctypes import RawValue
from typing import Any, Final, NamedTuple

from config.runtime.child_processes import exit_with_parent
from contacts.errors import ImportProcessLost
from contacts.imports.read_ahead import Share


class Progress(NamedTuple):
    """How far an import has come: what its row notes with each batch."""

    position: int = 0
    line: int = 1
    recorded: int = 0
    known: int = 0
    refused: int = 0
    refused_bytes: int = 0
    left_out: int = 0


_PACKED: Final = struct.Struct(f"!{len(Progress._fields)}q")


@dataclass
class Turn:
    """The right to commit, with the progress of who had it before. A process alone always has it."""

    share: Share = Share()  # noqa: RUF009  (immutable)
    is_own: bool = True
    _previous: int = -1
    _next: int = -1
    _holder: Any = None

    @property
    def holder(self) -> int:
        """The number of the process whose turn it is."""
        return int(self._holder.value)

    def wait(self, seconds: float | None = None) -> Progress | None:
        """Wait for the turn, None if it does not come in time. Raises ImportProcessLost."""
        if not select.select([self._previous], [], [], seconds)[0]:
            return None
        read = os.read(self._previous, _PACKED.size)
        if not read:
            raise ImportProcessLost
        self.is_own = True
        return Progress(*_PACKED.unpack(read))

    def end(self, progress: Progress) -> None:
        """Give the turn to the process that has the next batch."""
        if self.share.of > 1:
            self.is_own = False
            self._holder.value = (self.share.number + 1) % self.share.of
            # The other one is over where the file is.
            with suppress(BrokenPipeError):
                os.write(self._next, _PACKED.pack(*progress))


Work = Callable[[Turn], Iterator[Progress]]
"""What a process does: it yields the progress after each batch of its share."""


def record_together(count: int, first: Progress, work: Work) -> Iterator[Progress]:
    """Run `work` in processes, and yield the progress.

    Raises what one of them raised, once what came before is recorded; ImportProcessLost if one was killed. Processes
    that still run when the caller stops are killed: what they have not committed is not recorded.
    """
    pipes = [os.pipe() for _ in range(count)]
    holder = RawValue("i", 0)
    os.write(pipes[0][1], _PACKED.pack(*first))
    reports: dict[Connection, ForkProcess] = {}
    try:
        for number in range(count):
            report, process = _start(Share(number, count), pipes, holder, work)
            reports[report] = process
        for end in (end for pipe in pipes for end in pipe):
            os.close(end)
        yield from _follow(reports, first)
    finally:
        for process in reports.values():
            process.kill()
            process.join()


def _start(
    share: Share, pipes: list[tuple[int, int]], holder: Any, work: Work
) -> tuple[Connection, ForkProcess]:
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    arguments = (share, pipes, holder, work, sending, os.getpid())
    process = context.Process(target=_run, args=arguments, name=f"import {share.number}", daemon=True)
    process.start()
    sending.close()
    return receiving, process


def _follow(reports: dict[Connection, ForkProcess], progress: Progress) -> Iterator[Progress]:
    """Yield the progress that processes report until all have ended. Raises the first error of any."""
    open_reports = set(reports)
    failures: list[Exception] = []
    while open_reports:
        for report in wait(list(open_reports)):
            assert isinstance(report, Connection)  # noqa: S101  (nothing else is waited for)
            try:
                told = report.recv()
            except EOFError:
                open_reports.discard(report)
                reports[report].join()
                if reports[report].exitcode:
                    failures.append(ImportProcessLost())
                continue
            if isinstance(told, Exception):
                failures.append(told)
            elif told > progress:
                progress = told
                yield progress
    # Those who waited for the one that failed have failed of it.
    if failures:
        raise next((error for error in failures if not isinstance(error, ImportProcessLost)), failures[0])


def _run(
    share: Share, pipes: list[tuple[int, int]], holder: Any, work: Work, sending: Connection, parent: int
) -> None:
    exit_with_parent(signal.SIGTERM, parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's is decisive
    previous, following = pipes[share.number][0], pipes[(share.number + 1) % share.of][1]
    for end in (end for pipe in pipes for end in pipe):
        if end not in (previous, following):
            os.close(end)
    try:
        for progress in work(Turn(share, False, previous, following, holder)):
            sending.send(progress)
    except Exception as error:
        sending.send(_portable(error))


def _portable(error: Exception) -> Exception:
    """Return an error as another process can read it."""
    try:
        same = pickle.loads(pickle.dumps(error))  # noqa: S301  (our own)
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error if str(same) == str(error) else RuntimeError(f"{type(error).__name__}: {error}")
