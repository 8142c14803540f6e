"""Imports: files of contacts or events, batch by batch, resumed where they stopped; exports of contacts.

Front door: `runs.import_file`, for imports of contacts and of events; `exports.exported_contacts`.
"""
