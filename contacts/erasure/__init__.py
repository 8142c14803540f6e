"""Erasing a person and exporting all that is known of one.

Front door: `erasures.erase_person` and `erasures.write_export`.
"""
