"""The house: settings, the clock, the wire, the database and the broker that come with it, the processes."""

import os

# Whatever program it is, and whatever it loads first.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
