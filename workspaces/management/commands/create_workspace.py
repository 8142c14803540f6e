"""Create a workspace with everything that a client or a script needs to use it."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DataError, IntegrityError, transaction

from config.ids import uuid7
from workspaces.errors import InvalidEmail
from workspaces.models import Role
from workspaces.services import (
    KEY_PREFIX,
    add_member,
    checked_email,
    create_application,
    create_user,
    create_workspace,
    issue_api_key,
)


class Command(BaseCommand):
    """`create_workspace NAME`: a workspace, a key, an OAuth client and an owner."""

    help = "Create a workspace with an API key, an OAuth client and an owner; the secrets are shown once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("name")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")
        parser.add_argument(
            "--owner-email", default="", help="The owner's address, which is the user name too."
        )
        parser.add_argument("--password", default=None, help="The owner's password; made up by default.")
        parser.add_argument(
            "--staff", action="store_true", help="Let the owner into the admin, as a superuser."
        )
        parser.add_argument("--identity-field", default="email", help="What names a contact besides its id.")
        parser.add_argument("--key-prefix", default=KEY_PREFIX, help="How the API key begins.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Create it all or nothing, then print it."""
        try:
            with transaction.atomic():
                created = _create(options)
        except IntegrityError as error:
            raise CommandError("There is a user with this address already.") from error
        except InvalidEmail as error:
            raise CommandError(error.message) from error
        except DataError as error:
            raise CommandError("The name is too long.") from error
        self.stdout.write(json.dumps(created) if options["json"] else _readable(created))


def _create(options: dict[str, Any]) -> dict[str, Any]:
    workspace = create_workspace(options["name"], identity_field=options["identity_field"])
    email: str = options["owner_email"]
    if email:
        email = checked_email(email)
    user, password = create_user(
        username=email or f"owner-{uuid7().hex[-12:]}",
        email=email,
        password=options["password"],
        staff=options["staff"],
    )
    add_member(workspace.id, user, role=Role.OWNER)
    key = issue_api_key(workspace.id, f"{workspace.name}: first key", prefix=options["key_prefix"])
    client = create_application(workspace.id, f"{workspace.name}: first client")
    return {
        "workspace": str(workspace.id),
        "api_key": key.secret,
        "oauth": {"client_id": client.application.client_id, "client_secret": client.client_secret},
        "user": {"username": user.username, "password": password},
    }


def _readable(created: dict[str, Any]) -> str:
    return "\n".join(
        [
            f"Workspace      {created['workspace']}",
            f"API key        {created['api_key']}",
            f"Client id      {created['oauth']['client_id']}",
            f"Client secret  {created['oauth']['client_secret']}",
            f"User           {created['user']['username']}",
            f"Password       {created['user']['password']}",
            "The secrets are shown this once.",
        ]
    )
