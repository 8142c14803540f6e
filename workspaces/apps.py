"""The app of tenants and access."""

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.utils.module_loading import import_string

from workspaces import checks


class WorkspacesConfig(AppConfig):
    """Tenants, users, members and roles, credentials, authentication, throttles."""

    name = "workspaces"

    def ready(self) -> None:
        """Register the checks of this app."""
        register(checks.check_shared_rate_limits, Tags.security, deploy=True)
        register(checks.check_login_rates, Tags.security)
        # It needs the models, which are there by now.
        register(import_string("workspaces.staff.checks.check_admin"))
