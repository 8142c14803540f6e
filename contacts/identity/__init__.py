"""Identity resolution: find the contact that is meant, or create it, and write what changed.

Front door: `resolution.resolve_contacts` for batches, `lookup.find` for reading.
"""
