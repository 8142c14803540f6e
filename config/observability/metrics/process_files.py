"""The metrics files: one of each type per process; those of ended processes are merged into one."""

import fcntl
import logging
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, values
from prometheus_client.mmap_dict import MmapedDict

from config.observability import metrics

logger = logging.getLogger(__name__)

REGISTRY = CollectorRegistry()
"""The registry of all metrics of this process."""
ENDED = "0"
"""Process number in the names of merged files."""
_BYTES = 2**18


class AllocatedDict(MmapedDict):
    """A metrics file with its disk space allocated: writing into a hole on a full disk kills the process."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        descriptor = os.open(filename, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(descriptor).st_size == 0:
                _allocate(descriptor)
        finally:
            os.close(descriptor)
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]  # the library's


class _Unwritten:
    """Stand-in for a file for which the disk has no room: nobody reads its values."""

    def read_value(self, key: str) -> tuple[float, float]:
        return 0.0, 0.0

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        pass

    def close(self) -> None:
        pass


def _allocate(descriptor: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, _BYTES)
    else:
        os.write(descriptor, bytes(_BYTES))


def _opened(filename: str) -> Any:
    try:
        return AllocatedDict(filename)
    except OSError as error:
        with suppress(OSError):
            Path(filename).unlink()
        logger.warning("This process counts nothing: %s", error.strerror)
        return _Unwritten()


# The library opens files by this.
values.MmapedDict = _opened  # type: ignore[attr-defined, assignment]  # a class there
if metrics.folder is not None and not values.ValueClass._multiprocess:
    # The library was loaded before the folder was chosen.
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]  # the library's


@contextmanager
def combined(folder: Path, *, waits: bool = True) -> Iterator[None]:
    """Hold the lock for merging files. Raises BlockingIOError if it is taken and `waits` is False."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def remove_ended_files() -> None:
    """Merge ended processes' files, also where nobody reads /metrics. Never raises."""
    if metrics.folder is None:
        return
    try:
        with combined(metrics.folder, waits=False):
            merge_ended_processes(metrics.folder)
    except BlockingIOError:
        pass  # another process merges them
    except Exception:  # metrics must not fail a process
        logger.exception("Figures of processes that have ended are left as they are")


def merge_ended_processes(folder: Path) -> None:
    """Merge the counters of ended processes, so that there are no more files than processes.

    Their gauges are dropped.
    """
    ended: dict[str, list[Path]] = defaultdict(list)
    for path in folder.glob("*.db"):
        kind, _, pid = path.stem.rpartition("_")
        if pid.isdecimal() and pid != ENDED and not _lives(int(pid)):
            ended[kind].append(path)
    for kind, paths in ended.items():
        if not kind.startswith("gauge"):
            _add_up(folder, kind, paths)
        for path in paths:
            path.unlink(missing_ok=True)


def _add_up(folder: Path, kind: str, paths: list[Path]) -> None:
    total, draft = folder / f"{kind}_{ENDED}.db", folder / f"{kind}_{ENDED}.draft"
    draft.unlink(missing_ok=True)
    sums: dict[str, float] = defaultdict(float)
    for path in [total, *paths]:
        with suppress(FileNotFoundError, RuntimeError, ValueError):  # cut short by a crash of the machine
            for key, value, *_ in MmapedDict.read_all_values_from_file(path):  # type: ignore[no-untyped-call]
                sums[key] += value
    try:
        sum_file = AllocatedDict(str(draft))
    except OSError:
        return
    for key, value in sums.items():
        sum_file.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    sum_file.close()  # type: ignore[no-untyped-call]
    draft.replace(total)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
