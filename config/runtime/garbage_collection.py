"""Tune the garbage collector for long-lived processes."""

import gc

_YOUNG, _MIDDLE, _OLD = 20_000, 20, 50


def freeze_loaded_objects() -> None:
    """Exempt the objects of loaded code from collection, and collect less often.

    By default full collections traverse all of them again and again: a third of the time of a request.
    """
    # Where the site was loaded without a collector (config.runtime.granian) its little garbage stays.
    if gc.isenabled():
        gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
