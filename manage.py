#!/usr/bin/env python
"""Run Django's commands for Headrace."""

import importlib
import sys

from config.environment import InvalidVariable
from config.runtime import all_in_one
from config.runtime.postgres.locks import ServerUnavailableError


def main() -> None:
    """Run a command; `run` without loading the site, which its programs load at the same time."""
    if sys.argv[1:2] == ["run"]:
        try:
            all_in_one.main(sys.argv[2:])
        except InvalidVariable as error:
            sys.exit(f"Improperly configured: {error}")
    management = importlib.import_module("django.core.management")
    try:
        management.execute_from_command_line(sys.argv)
    except (management.ImproperlyConfigured, InvalidVariable) as error:
        sys.exit(f"Improperly configured: {error}")
    except ServerUnavailableError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
