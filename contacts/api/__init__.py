"""The native API of contacts; `urls.py` lists the routes."""
