"""Campaigns: contacts go through `journeys` and get messages (`messaging`); `forms`, `reporting`, `rehearsal`.

Front doors: `journeys/lifecycle.py`, `messaging/queue.py`, `rehearsal/rehearsals.py`. `public` has no credentials.
"""
