"""Django's PostgreSQL backend with connections that are bounded by the kind of work that they do."""
