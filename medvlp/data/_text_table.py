"""A manifest as text: CSV or TSV whose header has a manifest's column names."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from medvlp.core.errors import DataError
from medvlp.data._columns import plain_numbers


def read_text_table(path: Path) -> pa.Table:
    """Read a text table: strings, and numbers in attributes; the separator is the one that stands most in the header.

    Args:
        path: CSV (comma, semicolon or tab), or TSV.

    Raises:
        DataError: if it is no UTF-8, names a column twice, or a row is of another length than the header.
    """
    no_utf8 = f"The manifest {path} is not in UTF-8: save it as CSV in UTF-8."
    try:
        with open(path, "rb") as handle:
            header = handle.readline().split(b"\r")[0].decode("utf-8-sig").rstrip("\n")
    except UnicodeDecodeError:
        raise DataError(no_utf8) from None
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=header.count)
    names = [name.strip('"') for name in header.split(delimiter)]
    parse = pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    convert = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    try:
        read = pyarrow.csv.read_csv(path, parse_options=parse, convert_options=convert)
    except pa.ArrowInvalid as error:
        if "invalid UTF8" in str(error):
            raise DataError(no_utf8) from None
        # The reader quotes the row that it stumbles over, and a row holds a patient's report.
        length = re.search(r"Expected (\d+) columns, got (\d+)", str(error))
        if length is None:
            raise
        raise DataError(
            f"The manifest {path} has a row of {length[2]} values under {length[1]} columns: quote values that hold "
            f"{delimiter!r} or a line break."
        ) from None
    twice = sorted({name for name in read.column_names if read.column_names.count(name) > 1})
    if twice:
        raise DataError(f"The manifest {path} names the column {twice[0]!r} twice: rename or drop one.")
    return pa.table({name: plain_numbers(name, read[name].to_pylist()) for name in read.column_names})
