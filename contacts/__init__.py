"""Contacts: who they are (`identity`), their fields (`profiles`), `merging`, `erasure`, `imports`.

Front doors: `identity/resolution.py` finds or creates, `crud.py` changes, `merging/merges.py`, `erasure/erasures.py`.
"""
