"""Imports and exports of events. Front door: `events.import_events`, `exports.export_events`."""
