"""The native API that records and lists events: `urls.py` has the routes, `ingest.py` the base for all formats."""
