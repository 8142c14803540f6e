"""End child processes when their parent is killed."""

import ctypes
import os
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1
# Loaded now: nothing may be imported between fork and exec.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def exit_with_parent(signal_number: int, parent: int | None = None) -> None:
    """Have the kernel signal this process when its parent ends (Linux).

    `parent` is the expected parent: if it has ended already, the signal is sent at once. The parent's
    handlers for the signal are reset, for they would swallow one that comes before exec.
    """
    if parent is not None:
        signal.signal(signal_number, signal.SIG_DFL)
    if _prctl is not None:
        _prctl(_SET_PARENT_DEATH_SIGNAL, signal_number)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal_number)
