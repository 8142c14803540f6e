"""Imports and exports of events.

`events.EventImport` is run by `contacts.imports.runs.import_file`; `exports.exported_events` reads the stream.
"""
