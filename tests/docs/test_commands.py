"""Every command that the documents have to be pasted into a shell, run against Headrace as `make run` starts it."""

import os
import re
import subprocess
from itertools import groupby

import pytest

from tests.docs.pages import ROOT, blocks, name_of
from tests.proof.system import System

pytestmark = pytest.mark.slow
# By page, in the order in which somebody would paste them.
SCRIPTS = {
    page: [block.text for block in group] for page, group in groupby(blocks("sh"), lambda block: block.page)
}


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """Start the whole system once for all pages."""
    running = System(tmp_path_factory.mktemp("docs") / "home")
    yield running
    running.stop()


@pytest.mark.parametrize("page", SCRIPTS, ids=name_of)
def test_what_is_pasted_works(system, page):
    environment = {**os.environ, "HEADRACE_HOME": str(system.home), "PORT": str(system.port)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(SCRIPTS[page])],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answers = re.findall(r" \[(\d{3})\]$", done.stdout, re.M)
    assert answers or "curl" not in "".join(SCRIPTS[page]), done.stdout
    assert all(status.startswith("2") for status in answers), done.stdout
