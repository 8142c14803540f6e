"""The app of tenants and access."""

from django.apps import AppConfig


class WorkspacesConfig(AppConfig):
    """Tenants, users, members and roles, credentials, authentication, throttles."""

    name = "workspaces"
