"""Journeys: which contacts enter a campaign, and how they move through its steps.

Front door: `lifecycle` for campaigns, `enrollment.enroll` for entering, `processor` for moving on.
"""
