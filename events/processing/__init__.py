"""Processing of the outbox: batches of events go through the effects of `settings.EVENT_EFFECTS`.

Front door: `effects.apply_effects`; `worker` runs it in the background, `parking` keeps what failed.
"""
