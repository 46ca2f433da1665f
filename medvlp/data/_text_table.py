"""A manifest that somebody keeps as text: CSV or TSV, its header the column names of `medvlp.data.manifest`."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from medvlp.core.errors import DataError
from medvlp.data._columns import plain_numbers


def read_text_table(path: Path) -> pa.Table:
    """Read words as they stand, ``007`` too; an attribute whose every value is a number becomes one.

    Raises:
        DataError: if it is no UTF-8, or names a column twice.
        pyarrow.ArrowInvalid: if it is no CSV.
    """
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    parse = pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            header = handle.readline().rstrip("\r\n").split(delimiter)
        types = {name.strip('"'): pa.string() for name in header}
        convert = pyarrow.csv.ConvertOptions(column_types=types)
        read = pyarrow.csv.read_csv(path, parse_options=parse, convert_options=convert)
    except (UnicodeDecodeError, pa.ArrowInvalid) as error:
        if isinstance(error, pa.ArrowInvalid) and "UTF8" not in str(error):
            raise
        raise DataError(f"The manifest {path} is not in the encoding UTF-8: save it as UTF-8.") from None
    twice = sorted({name for name in read.column_names if read.column_names.count(name) > 1})
    if twice:
        raise DataError(f"The manifest {path} names the column {twice[0]!r} twice: rename or drop one.")
    return pa.table({name: plain_numbers(name, read[name].to_pylist()) for name in read.column_names})
