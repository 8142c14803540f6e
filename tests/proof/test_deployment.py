"""The processes start and stop by the commands of docs/deployment.md, and as deploy/entrypoint starts them."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.config.runtime.test_supervisor import free_port, wait_for
from tests.homes import ROOT, prepare_home
from tests.scale import IS_WHOLE

pytestmark = pytest.mark.slow
BIN = Path(sys.executable).parent


def of_units() -> dict[str, list[str]]:
    """Return the commands of the document's units, by program."""
    text = (ROOT / "docs/deployment.md").read_text()
    commands = [line.split() for line in re.findall(r"ExecStart=(.+)", text)]
    return dict(zip(("web", "worker", "long-worker", "beat"), commands, strict=True))


def of_image() -> dict[str, list[str]]:
    return {
        program: [str(ROOT / "deploy/entrypoint"), program]
        for program in ("web", "worker", "long-worker", "beat")
    }


@contextmanager
def running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    """Run a command until it is told to stop, as a process manager tells it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield
        assert process.poll() is None, log.read_text()
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("commands", [of_units, of_image] if IS_WHOLE else [of_units])
def test_it_starts_works_and_stops_as_documented(tmp_path: Path, commands) -> None:
    home, port = tmp_path / "home", free_port()
    prepare_home(home)
    environment = {
        "PATH": f"{BIN}:/usr/bin:/bin",
        "HEADRACE_HOME": str(home),
        "GRANIAN_PORT": str(port),
        "HEARTBEAT_SECONDS": "1",
        "GRANIAN_WORKERS_KILL_TIMEOUT": "3",
    }
    environment |= {name: os.environ[name] for name in ("SECRET_KEY",) if name in os.environ}

    def is_ready() -> bool:
        try:
            return bool(urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=20).status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def is_healthy() -> bool:
        command = [sys.executable, "manage.py", "check_health"]
        return not subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, check=False
        ).returncode

    with ExitStack() as stack:
        for program, command in commands().items():
            words = [word.replace("/opt/headrace/.venv/bin", str(BIN)) for word in command]
            if "--port" in words:
                words[words.index("--port") + 1] = str(port)
            stack.enter_context(running(words, environment, tmp_path / f"{program}.log"))
        wait_for(is_ready, 60)
        time.sleep(1)
        wait_for(is_healthy, 60)
