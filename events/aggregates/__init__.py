"""Counts and sums that all-time conditions read, maintained event by event."""
