"""The native API of scoring rules and scores; `urls.py` lists the routes."""
