"""Run a few processes as one: start them, show their output, restart the fallen, stop them all in time."""

import contextlib
import functools
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from config.orphans import die_with_parent

STOP_SECONDS = 1.8
FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 10.0
LIVED_WELL_SECONDS = 10.0


@dataclass
class Program:
    """One process to keep alive."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
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
        self._selector = selectors.DefaultSelector()

    def run(self, every_turn: Callable[[], object] = lambda: None) -> None:
        """Run until SIGINT, SIGTERM or SIGHUP; call `every_turn` a few times a second."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask_to_stop)
        while not self.is_stopping:
            for program in self.programs:
                self._tend(program)
            self._show_output(timeout_seconds=0.2)
            every_turn()
        self._stop()

    def _ask_to_stop(self, *_: object) -> None:
        self.is_stopping = True

    def _tend(self, program: Program) -> None:
        now = time.monotonic()
        if program.process is None:
            if now >= program.start_at:
                self._start(program)
        elif program.process.poll() is not None:
            self._bury(program)
            if now - program.started_at > LIVED_WELL_SECONDS:
                program.delay_seconds = FIRST_DELAY_SECONDS
            self.write(f"{program.name:<7}| ended; starts again in {program.delay_seconds:g} s\n")
            program.start_at = now + program.delay_seconds
            program.delay_seconds = min(program.delay_seconds * 2, LONGEST_DELAY_SECONDS)

    def _start(self, program: Program) -> None:
        program.process = subprocess.Popen(
            program.command,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **program.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its own group: the terminal's Ctrl-C is ours alone, and it falls as one
            preexec_fn=functools.partial(die_with_parent, signal.SIGTERM),
        )
        program.started_at = time.monotonic()
        if program.process.stdout is not None:
            os.set_blocking(program.process.stdout.fileno(), False)
            self._selector.register(program.process.stdout, selectors.EVENT_READ, program)

    def _bury(self, program: Program) -> None:
        """Kill what a dead process left of its group, and take its last words."""
        process, program.process = program.process, None
        if process is None:
            return
        _signal_group(process, signal.SIGKILL)
        process.wait()
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
            time.sleep(0.01)  # its end, while the process is still dying: the selector would spin
        *lines, program.unfinished_line = (program.unfinished_line + data).split(b"\n")
        for line in lines:
            self.write(f"{program.name:<7}| {line.decode(errors='replace')}\n")

    def _stop(self) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        running = [program for program in self.programs if program.process is not None]
        for program in running:
            if program.process is not None:
                program.process.terminate()
        while time.monotonic() < deadline and any(p.process and p.process.poll() is None for p in running):
            self._show_output(timeout_seconds=0.05)
        for program in running:
            self._bury(program)


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
