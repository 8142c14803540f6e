"""Merging contacts that are one person, and undoing it.

Front door: `merges.merge_contacts` and `merges.undo_merge`; `reassignment` moves the rows of other apps.
"""
