"""Journeys: which contacts enter a campaign, and how they move through its steps.

Front doors: `lifecycle` creates and starts campaigns, `enrollment.enroll` lets contacts in, `processor`
moves them on.
"""
