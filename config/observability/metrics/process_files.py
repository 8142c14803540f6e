"""The files of the figures: one of each type a process; those of processes that have ended are added up in one."""

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
"""Where every figure of a process is defined."""
ENDED = "0"
"""What stands for the number of the process in files of those that have ended."""
_BYTES = 2**18


class AllocatedDict(MmapedDict):
    """A file whose room is on the disk before it is used: to write into a hole on a full disk kills a process."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        descriptor = os.open(filename, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(descriptor).st_size == 0:
                _allocate(descriptor)
        finally:
            os.close(descriptor)
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]  # the library's


class _Unwritten:
    """What takes the figures of a process for which there is no room; nobody reads them."""

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


# What the library opens files with.
values.MmapedDict = _opened  # type: ignore[attr-defined, assignment]  # a class there
if metrics.folder is not None and not values.ValueClass._multiprocess:
    # Somebody loaded the library before the folder was chosen.
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]  # the library's


@contextmanager
def combined(folder: Path, *, waits: bool = True) -> Iterator[None]:
    """Be the only one that adds up, of all processes. Raises BlockingIOError for who does not wait."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def remove_ended_files() -> None:
    """Leave no more files than processes, also where nobody ever asks for the figures. Never raises."""
    if metrics.folder is None:
        return
    try:
        with combined(metrics.folder, waits=False):
            merge_ended_processes(metrics.folder)
    except BlockingIOError:
        pass  # somebody is at it
    except Exception:  # figures are worth no process
        logger.exception("Figures of processes that have ended are left as they are")


def merge_ended_processes(folder: Path) -> None:
    """Add up what processes that have ended counted, so that there are no more files than processes.

    What they told of their state is forgotten.
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
