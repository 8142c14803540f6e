"""Processing of the outbox: batches of events go through the effects of `settings.EVENT_EFFECTS`.

Front door: `passes.apply_effects`; `worker` runs it in the background, `parked_effects` keeps what failed.
"""
