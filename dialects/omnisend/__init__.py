"""Omnisend's wire format, v3, v5 and later: events, contacts, batches, checks of a key."""
