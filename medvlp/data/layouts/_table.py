"""A text table as a hospital exports it: any of the usual separators, quoted line breaks, a byte order mark."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.suggest import did_you_mean

__all__ = ["SHORT_NAMES", "Table", "parse_columns", "read_table"]

#: How people call the identifiers of a manifest.
SHORT_NAMES: dict[str, str] = {"patient_id": "id.patient", "study_id": "id.study"}


@dataclass(frozen=True)
class Table:
    """Rows of strings.

    Attributes:
        path: of the file.
        names: of the columns.
        rows: values, stripped; short rows are filled up with blanks.
        lines: line of the file at which each row ends, for messages.
    """

    path: Path
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def column(self, name: str) -> list[str]:
        """Values of one column.

        Raises:
            DataError: if there is no such column, with the nearest name.
        """
        if name not in self.names:
            raise DataError(f"{self.path} has no column {name!r}: {did_you_mean(name, [n for n in self.names if n])}.")
        at = self.names.index(name)
        return [row[at] for row in self.rows]

    def renamed(self, columns: Mapping[str, str], *, known: Sequence[str] = ()) -> Table:
        """Return the table with columns under other names; one that had such a name before has none.

        Args:
            columns: name -> column that gets it.
            known: names that are of use; all where none is named.

        Raises:
            ConfigError: for another name.
            DataError: if there is no such column, with the nearest name.
        """
        for name, column in columns.items():
            if known and name not in known:
                raise ConfigError(f"--column {name}={column} is of no use here: {did_you_mean(name, known)}.")
            self.column(column)
        given = {column: name for name, column in columns.items()}
        names = tuple(given.get(name, "" if name in columns else name) for name in self.names)
        return replace(self, names=names)


def parse_columns(words: Sequence[str], *, short: bool = True) -> dict[str, str]:
    """Read ``--column FIELD=COLUMN`` words.

    Args:
        words: as given.
        short: take ``patient_id`` and ``study_id`` as ``id.patient`` and ``id.study``.

    Raises:
        ConfigError: for a word of another form.

    Example:
        >>> parse_columns(["image=ImageId", "patient_id=Patient ID"])
        {'image': 'ImageId', 'id.patient': 'Patient ID'}
    """
    found = {}
    for word in words:
        field, equals, column = word.partition("=")
        if not (field and equals and column):
            raise ConfigError(f"--column {word!r} is not FIELD=COLUMN: write, for example, image=ImageId.")
        found[SHORT_NAMES.get(field, field) if short else field] = column
    return found


def read_table(path: Path, *, encoding: str = "utf-8-sig", whole: bool = False) -> Table:
    r"""Read a CSV; the separator is the one of comma, semicolon and tab that stands most often in the header.

    A file whose name ends in ``.gz`` is unpacked.

    Args:
        path: of the file.
        encoding: of its text.
        whole: refuse a row that has fewer values than the header too, and a name that stands twice.

    Raises:
        DataError: if the file is missing, damaged, empty, in another encoding, or a row has more values than the
            header.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "t.csv"
        >>> _ = path.write_text("a;b\n1;2\n")
        >>> read_table(path).column("b")
        ['2']
    """
    try:
        data = path.read_bytes()
        # Universal newlines, as open() in text mode has them.
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode(encoding)
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        raise DataError(f"The table {path} does not exist: check its name and the root folder.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is no whole gzip file ({error}): download it again.") from None
    except (UnicodeDecodeError, LookupError):
        raise DataError(f"{path} is not in the encoding {encoding}: save it as UTF-8, or set encoding.") from None
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    # A report may be longer than the module's default limit of 131,072 characters.
    csv.field_size_limit(1 << 24)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        names = tuple(name.strip() for name in next(reader, []))
        rows, lines = [], []
        for row in reader:
            if not any(value.strip() for value in row):
                continue
            if len(row) > len(names) or (whole and len(row) < len(names)):
                raise DataError(
                    f"{path}, line {reader.line_num}: {len(row)} values under {len(names)} columns: quote values "
                    f"that hold "
                    f"{delimiter!r} or a line break."
                )
            rows.append(tuple(value.strip() for value in row) + ("",) * (len(names) - len(row)))
            lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}, is not CSV ({error}): export the table again.") from None
    if not names or not rows:
        raise DataError(f"{path} has no rows: export the table again.")
    twice = sorted({name for name in names if names.count(name) > 1}) if whole else ()
    if twice:
        raise DataError(f"{path} names the column {twice[0]!r} twice: rename or drop one.")
    return Table(path, names, tuple(rows), tuple(lines))
