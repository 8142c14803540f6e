"""Workspaces: tenants, their users, credentials, limits and audit log; the base of every API."""
