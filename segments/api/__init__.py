"""The native API of segments and their members; `urls.py` lists the routes."""
