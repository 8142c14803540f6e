"""Events: recorded (`stream`), applied (`processing`), counted (`aggregates`), matched (`rules`); `imports`.

Front doors: `stream/recording.py`, `processing/worker.py`, `rules/parser.py`.
"""
