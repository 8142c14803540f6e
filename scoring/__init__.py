"""Scoring: points that events and fields give a contact, by rules.

Front doors: `rules.py` creates and changes rules, `effects.py` applies events.
"""
