"""Settings, HTTP, database, processes, observability and single values: what every app builds on."""

import os

# For every program, whatever module it loads first.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
