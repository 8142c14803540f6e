"""Leadpush (seed 000): events on contacts, both generations of its API."""
