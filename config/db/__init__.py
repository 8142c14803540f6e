"""The database: a backend with time limits, connection slots, prepared plans, fields and SQL helpers."""
