"""Leave no process behind when the one that started it is killed."""

import ctypes
import os
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1
# Loaded here, for between fork and exec nothing may be imported.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def exit_with_parent(signal_number: int, parent: int | None = None) -> None:
    """Have the kernel send this process a signal when its parent is gone, where the kernel can (Linux).

    `parent` is the process that was to be its parent: if that is gone by now, the signal is sent here. What
    that one did on the signal is undone, if this is called in time: it would swallow one that comes before
    this process has become something else.
    """
    if parent is not None:
        signal.signal(signal_number, signal.SIG_DFL)
    if _prctl is not None:
        _prctl(_SET_PARENT_DEATH_SIGNAL, signal_number)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal_number)
