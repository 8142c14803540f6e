"""The processes of a run: Headrace as `make run` starts it, the plain way beside it, and the load on them."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import psutil

START_SECONDS = 60


def manage(*arguments: str) -> str:
    """Run a management command in a process of its own."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments], check=True, text=True, stdout=subprocess.PIPE
    ).stdout


def make_workspace(name: str) -> dict[str, Any]:
    """Make a workspace; return its id as `workspace` and a key as `api_key`."""
    made: dict[str, Any] = json.loads(manage("create_workspace", name, "--json"))
    return made


def set_up() -> None:
    """Make this process one of Headrace's, with no worker beside it that it would wake."""
    import django

    django.setup()

    from config.runtime import background
    from config.runtime.garbage_collection import freeze_loaded_objects

    freeze_loaded_objects()  # as in a worker
    background.publish = lambda *_, **__: None


@contextlib.contextmanager
def headrace(*, workers: int = 2) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run Headrace as `make run` does; yield its port and its first process."""
    port = free_port()
    command = [sys.executable, "manage.py", "run", f"--port={port}", f"--worker-processes={workers}"]
    with running(command, {"DJANGO_SETTINGS_MODULE": "config.settings"}, port) as process:
        yield port, process


@contextlib.contextmanager
def plain_way() -> Iterator[int]:
    """Run the plain way on the same web server, with its worker; yield its port."""
    port = free_port()
    environment = {"DJANGO_SETTINGS_MODULE": "benchmarks.plain.settings", "HEADRACE_WEB": "1"}
    worker = "-m celery --quiet --app=config worker --concurrency=2 --loglevel=error"
    web = f"-m granian --interface wsgi --no-ws --log-level warning --port={port} --workers=2 --blocking-threads=4"
    with (
        running([sys.executable, *worker.split()], {**environment, "HEADRACE_WEB": ""}, None),
        running([sys.executable, *web.split(), "config.wsgi:application"], environment, port),
    ):
        yield port


@contextlib.contextmanager
def running(
    command: list[str], environment: dict[str, str], port: int | None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process until the block ends; with a port, from when it answers."""
    variables = {**os.environ, **environment}
    variables = {name: value for name, value in variables.items() if value}
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while port is not None and not _answers(port):
            if time.monotonic() > deadline or process.poll() is not None:
                sys.exit(f"{' '.join(command)} did not start")
            time.sleep(0.1)
        _await_rest(process)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()


def _await_rest(process: subprocess.Popen[bytes]) -> None:
    """Wait until all processes have started: they take next to no CPU then."""
    deadline, before = time.monotonic() + START_SECONDS, -1.0
    while time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        now = sum(_cpu_seconds(each) for each in [psutil.Process(process.pid), *_below(process)])
        if 0 <= now - before < _LOOK_SECONDS / 20:
            return
        before = now


def _below(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def _cpu_seconds(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


_LOOK_SECONDS = 1.0


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5):
        return True
    return False


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def post_all(
    port: int, path: str | list[str], key: str, bodies: list[str], *, connections: int, seconds: float
) -> dict[str, float]:
    """Post the bodies again and again for some seconds, by a process of its own.

    Returns per_second, p50_ms, p95_ms, p99_ms and `count`: all that were sent, a second of warming up
    included.
    """
    result: dict[str, float] = {}
    count = 0.0
    job = {"port": port, "path": path, "key": key, "bodies": bodies, "connections": connections}
    for each in (1.0, seconds):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.load"],
            input=json.dumps({**job, "seconds": each}),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        result = json.loads(done.stdout)
        count += result["per_second"] * result["seconds"]
    if result["failures"]:
        sys.exit(f"{result['failures']:.0f} requests to {path} failed")
    return {**result, "count": count}
