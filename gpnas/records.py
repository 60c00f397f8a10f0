"""Files of records, for studies of your own: written whole or not at all, checked when read."""

from gpnas._files import (
    append_line,
    read_json,
    read_lines,
    records_path,
    sealed,
    write_bytes,
    write_json,
)

__all__ = [
    "append_line", "read_json", "read_lines", "records_path", "sealed", "write_bytes", "write_json",
]  # fmt: skip
