"""How the garbage collector runs in processes that live long."""

import gc

_YOUNG, _MIDDLE, _OLD = 20_000, 20, 50


def settle() -> None:
    """Leave alone what was made at the start, which stays, and look for cycles less often.

    By default a full collection goes over all the code's objects again and again: a third of the time of a request.
    """
    # Loaded without it, in a hurry (see config.runtime.granian), a process keeps the little garbage that loading makes.
    if gc.isenabled():
        gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
