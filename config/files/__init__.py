"""Files of rows, read and written in constant memory: CSV, JSON Lines, gzip of both, Parquet.

Front door: `reading.open_file` yields rows with their line and position, `mapping.ColumnMapping` turns columns into
fields, `writing.write_rows` writes rows, `refused.RefusedFile` keeps what was not taken. `documents` reads and
writes YAML of one object. Nothing here knows models.
"""
