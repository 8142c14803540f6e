"""Leadpush's wire format, both generations of its API: events and contacts."""
