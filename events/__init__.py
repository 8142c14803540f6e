"""Events: recorded (`stream`), applied to contacts (`processing`), counted (`aggregates`), matched (`rules`).

Front doors: `stream/recording.py`, `processing/worker.py`, `rules/parser.py`.
"""
