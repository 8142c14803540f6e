"""The native API of campaigns, enrollments, messages, forms, templates and policy; `urls.py` lists the routes."""
