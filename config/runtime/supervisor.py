"""Supervise processes: start them, show their output, restart those that fail, stop them all in time."""

import contextlib
import functools
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from config.runtime.child_processes import exit_with_parent

STOP_SECONDS = 1.8
FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 10.0
LIVED_WELL_SECONDS = 10.0
# A terminal and a wrapper may both pass on the same Ctrl-C.
SAME_SIGNAL_SECONDS = 0.5


@dataclass
class Program:
    """One process to keep alive."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_seconds: float = STOP_SECONDS
    """Time to stop before it is killed."""
    is_once: bool = False
    """Runs once; if it fails, everything ends."""
    after: "Program | None" = None
    """The program that must have succeeded before this one works."""
    waits_at_stdin: bool = False
    """Start early, to load meanwhile: its standard input ends when `after` has."""
    may_start: Callable[[], bool] = lambda: True
    """Asked before the first start."""
    hear: Callable[[str], bool] = lambda line: False
    """Called with each output line; if it returns true the line is not shown."""
    is_done: bool = False
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    delay_seconds: float = FIRST_DELAY_SECONDS
    unfinished_line: bytes = b""


class Supervisor:
    """Keeps programs alive until a signal ends it."""

    def __init__(self, programs: Sequence[Program], write: Callable[[str], object]) -> None:
        self.programs = programs
        self.write = write
        self.is_stopping = False
        self.is_hurried = False
        self.has_failed = False
        self._stop_asked_at = 0.0
        self._selector = selectors.DefaultSelector()

    def run(self, every_turn: Callable[[], object] = lambda: None) -> None:
        """Run until SIGINT, SIGTERM or SIGHUP, of which a second one kills what is slow to stop.

        `every_turn` is called a few times a second. `has_failed` tells afterwards whether a program ended it
        that was to end well.
        """
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask_to_stop)
        while not self.is_stopping:
            for program in self.programs:
                self._supervise(program)
            self._show_output(timeout_seconds=0.2)
            every_turn()
        self._stop()

    def _ask_to_stop(self, *_: object) -> None:
        now = time.monotonic()
        if self.is_stopping:
            self.is_hurried |= now - self._stop_asked_at > SAME_SIGNAL_SECONDS
        else:
            self.is_stopping, self._stop_asked_at = True, now

    def _supervise(self, program: Program) -> None:
        now = time.monotonic()
        if program.process is None:
            if not program.is_done and now >= program.start_at and self._may_start(program):
                self._start(program)
        elif program.process.poll() is not None:
            status = program.process.returncode
            self._reap(program)
            if program.is_once:
                self._finish(program, status)
            else:
                self._start_later(program, now)

    @staticmethod
    def _may_start(program: Program) -> bool:
        has_turn = program.after is None or program.after.is_done or program.waits_at_stdin
        return has_turn and (program.started_at > 0 or program.may_start())

    def _finish(self, program: Program, status: int) -> None:
        if status:
            self.write(f"{program.name:<7}| failed\n")
            self.has_failed = self.is_stopping = True
            return
        program.is_done = True
        for waiting in self.programs:
            if waiting.after is program and waiting.process is not None and waiting.process.stdin is not None:
                waiting.process.stdin.close()

    def _start_later(self, program: Program, now: float) -> None:
        if now - program.started_at > LIVED_WELL_SECONDS:
            program.delay_seconds = FIRST_DELAY_SECONDS
        self.write(f"{program.name:<7}| ended; starts again in {program.delay_seconds:g} s\n")
        program.start_at = now + program.delay_seconds
        program.delay_seconds = min(program.delay_seconds * 2, LONGEST_DELAY_SECONDS)

    def _start(self, program: Program) -> None:
        has_to_wait = program.after is not None and not program.after.is_done
        program.process = subprocess.Popen(
            program.command,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **program.environment},
            stdin=subprocess.PIPE if has_to_wait else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its own group, without the terminal's Ctrl-C
            preexec_fn=functools.partial(exit_with_parent, signal.SIGTERM, os.getpid()),
        )
        program.started_at = time.monotonic()
        if program.process.stdout is not None:
            os.set_blocking(program.process.stdout.fileno(), False)
            self._selector.register(program.process.stdout, selectors.EVENT_READ, program)

    def _reap(self, program: Program) -> None:
        """Kill the rest of a dead process's group, and show its last output."""
        process, program.process = program.process, None
        if process is None:
            return
        _signal_group(process, signal.SIGKILL)
        process.wait()
        if process.stdin is not None:
            process.stdin.close()
        if process.stdout is not None:
            self._read(program, process.stdout.fileno())
            self._selector.unregister(process.stdout)
            process.stdout.close()

    def _show_output(self, timeout_seconds: float) -> None:
        for key, _ in self._selector.select(timeout_seconds):
            self._read(key.data, key.fd)

    def _read(self, program: Program, descriptor: int) -> None:
        try:
            data = os.read(descriptor, 65536)
        except BlockingIOError:
            return
        if not data:
            time.sleep(0.01)  # at end of file with the process still exiting the selector would spin
        *lines, program.unfinished_line = (program.unfinished_line + data).split(b"\n")
        for line in (line.decode(errors="replace") for line in lines):
            if not program.hear(line):
                self.write(f"{program.name:<7}| {line}\n")

    def _stop(self) -> None:
        began = time.monotonic()
        running = [program for program in self.programs if program.process is not None]
        for program in running:
            if program.process is not None:
                program.process.terminate()
        is_told = False
        while running := self._still_stopping(running, time.monotonic() - began):
            self._show_output(timeout_seconds=0.05)
            patient = [program.name for program in running if program.stop_seconds > STOP_SECONDS]
            if patient and not is_told and time.monotonic() - began > STOP_SECONDS:
                names = ", ".join(dict.fromkeys(patient))
                self.write(f"Waiting for {names} to finish what is begun; Ctrl-C again ends it at once ...\n")
                is_told = True

    def _still_stopping(self, programs: Sequence[Program], seconds: float) -> list[Program]:
        """Reap programs that have stopped or whose time is over; return the rest."""
        left = []
        for program in programs:
            has_ended = program.process is None or program.process.poll() is not None
            if has_ended or self.is_hurried or seconds > program.stop_seconds:
                self._reap(program)
            else:
                left.append(program)
        return left


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
