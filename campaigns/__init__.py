"""Campaigns: contacts go through steps and get messages (`journeys`, `messaging`), forms, reports.

Front doors: `journeys/lifecycle.py`, `messaging/queue.py`.
"""
