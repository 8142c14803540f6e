"""Campaigns and all that they need, in the native format."""
