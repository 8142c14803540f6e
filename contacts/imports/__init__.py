"""Imports: files of contacts or events, batch by batch, resumed where they stopped; exports of contacts.

Front door: `contacts.import_contacts`, `exports.export_contacts`. `runs` is what imports of every kind share.
"""
