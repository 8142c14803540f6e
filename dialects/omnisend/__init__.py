"""Omnisend's wire format: events."""
