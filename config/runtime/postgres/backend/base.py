"""The database backend `config.runtime.postgres.backend`."""

from typing import Any

import psycopg
from django.conf import settings
from django.db.backends.postgresql import base

from config.db.backend.base import Bounded
from config.runtime.postgres.server import DATABASE, embedded_server_at


class _OnEmbeddedServer(base.DatabaseWrapper):
    """PostgreSQL in HEADRACE_HOME."""

    def get_connection_params(self) -> dict[str, Any]:
        server = embedded_server_at(settings.HEADRACE_HOME)
        name = self.settings_dict["NAME"] or "postgres"
        # Other names, the tests' databases, are created by Django.
        address = server.ensure_database(name) if name == DATABASE else server.ensure_running()
        return {**super().get_connection_params(), **address.connection_parameters(name)}

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        try:
            return super().get_new_connection(conn_params)
        except psycopg.errors.ConnectionTimeout:
            # It is there, and silent.
            raise
        except psycopg.OperationalError:
            embedded_server_at(settings.HEADRACE_HOME).ensure_running(check=True)
            return super().get_new_connection(conn_params)


class DatabaseWrapper(Bounded, _OnEmbeddedServer):
    """PostgreSQL in HEADRACE_HOME, with the limits of the work that its connections are for."""
