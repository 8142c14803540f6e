"""HTTP: parsing and rendering JSON, reading bodies, refusals outside views, OpenAPI, probes and metrics."""
