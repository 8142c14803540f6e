"""Settings, HTTP, database, processes, observability and single values: what every app builds on."""

import gc
import os

# For every program, whatever module it loads first.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# Loading makes many objects and hardly any garbage, and looking for it takes a fifth of a start. What runs for long
# has limits of its own: config.runtime.garbage_collection.
gc.set_threshold(100_000, 10, 10)
