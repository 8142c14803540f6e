"""Sessions in the database, asked only for keys that the database can hold."""

from django.contrib.sessions.backends import db


class SessionStore(db.SessionStore):
    """A quoted cookie may spell a NUL, which PostgreSQL refuses as a parameter."""

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key if session_key and session_key.isalnum() else None)
