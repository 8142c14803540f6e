"""Workspaces for staff: users, credentials, workspaces and the audit log."""

from workspaces.admin import audit, credentials, jobs, users, workspaces

__all__ = ["audit", "credentials", "jobs", "users", "workspaces"]
