"""Processes: `manage.py run`, the embedded PostgreSQL, the broker, beat."""
