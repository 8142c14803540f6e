#!/usr/bin/env python
"""Run Django's commands for Headrace."""

import importlib
import sys

from config.runtime import all_in_one
from config.runtime.postgres.locks import ServerUnavailableError


def main() -> None:
    """Run a command; `run` without loading the site first, which would take it as long as its programs."""
    if sys.argv[1:2] == ["run"]:
        all_in_one.main(sys.argv[2:])
    management = importlib.import_module("django.core.management")
    try:
        management.execute_from_command_line(sys.argv)
    except management.ImproperlyConfigured as error:
        # Which setting, and what is wrong with it; where the code read it tells nobody anything.
        sys.exit(f"Improperly configured: {error}")
    except ServerUnavailableError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
