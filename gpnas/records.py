"""Files of records for your own studies: written atomically, checked on reading."""

from gpnas._files import (
    append_line,
    check_writable,
    make_folder,
    read_json,
    read_lines,
    records_path,
    sealed,
    write_bytes,
    write_json,
)

__all__ = [
    "append_line", "check_writable", "make_folder", "read_json", "read_lines", "records_path",
    "sealed", "write_bytes", "write_json",
]  # fmt: skip
