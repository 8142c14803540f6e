"""Segments: who fits a rule now, and who entered and left.

Front doors: `definitions.py` creates and changes segments, `effects.py` evaluates contacts when events come.
"""
