"""The WSGI application that granian serves."""

import os
import signal

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from config.orphans import die_with_parent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()
if settings.IN_WEB:
    die_with_parent(signal.SIGTERM)
