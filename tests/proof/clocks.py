"""A clock that Headrace's processes believe in place of the machine's: a file says how many seconds it is ahead."""

import os
from pathlib import Path

from tests.config.runtime.test_supervisor import ROOT

_AHEAD = "clock"
# Python runs a module of this name before anything else; what the machine has under it is not needed here.
_SITE = """
import os
from datetime import UTC, datetime, timedelta

from config import clock

_file = os.open(os.environ["AHEAD_FILE"], os.O_RDONLY)


def now():
    return datetime.now(UTC) + timedelta(seconds=float(os.pread(_file, 32, 0) or 0))


clock.now = now
"""


def settings_for(home: Path, seconds: float) -> dict[str, str]:
    """Return what processes need in their environment to have this home's clock, which is so far ahead at first."""
    site = home.with_name(f"{home.name}-site")
    site.mkdir()
    (site / "sitecustomize.py").write_text(_SITE)
    ahead = site / _AHEAD
    ahead.write_text(str(seconds).ljust(32))
    return {"PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]), "AHEAD_FILE": str(ahead)}


def set_ahead(home: Path, seconds: float) -> None:
    """Have the clock jump, in every process at once."""
    with (home.with_name(f"{home.name}-site") / _AHEAD).open("r+") as file:
        file.write(str(seconds).ljust(32))
