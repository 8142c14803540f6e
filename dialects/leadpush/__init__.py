"""Leadpush's wire format, both generations of its API: events, contacts, e-mails, suppressions."""
