"""Tune the garbage collector for long-lived processes."""

import gc

_YOUNG, _MIDDLE, _OLD = 20_000, 20, 50


def freeze_loaded_objects(young: int = _YOUNG) -> None:
    """Exempt the objects of loaded code from collection, and collect less often.

    By default full collections traverse all of them again and again: a third of the time of a request. `young`: by
    how many the objects have to become more before the youngest are looked through.
    """
    # Where the site was loaded without a collector (config.runtime.granian) its little garbage stays.
    if gc.isenabled():
        gc.collect()
    gc.freeze()
    gc.set_threshold(young, _MIDDLE, _OLD)
