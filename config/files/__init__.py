"""Files of rows, read and written in constant memory: CSV, JSON Lines, gzip of both, Parquet.

Front door: `reading.open_file` yields rows with their line and position, `mapping.Mapping` turns columns into
fields, `writing.open_writer` writes rows, `refused.RefusedFile` keeps what was not taken. Nothing here knows models.
"""
