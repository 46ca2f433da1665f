"""A text table as a hospital exports it: any of the usual separators, quoted line breaks, a byte order mark."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from medvlp.core.errors import ConfigError, DataError, did_you_mean
from medvlp.core.files import no_file

#: How people call the identifiers of a manifest.
SHORT_NAMES: dict[str, str] = {"patient_id": "id.patient", "study_id": "id.study"}
_END = "\x03end\x03"  # a last row, which a quote that is never closed would swallow
_FREE_BYTES, _MAX_RATIO = 256 << 20, 100  # unpacked: tables deflate 5 to 20 times, beyond both it is a bomb
_ABOVE = re.compile(r"(?:[ \t,;]*|sep=(.))\n", re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """Rows of strings.

    Attributes:
        rows: values, stripped; short rows, unless a line break tore them, are filled up with blanks.
        lines: line of the file at which each row begins, for messages.
    """

    path: Path
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def column(self, name: str, *, mending: str = "") -> list[str]:
        """Values of one column; a `DataError` where two have that name, or none has, which then names the nearest."""
        if name not in self.names:
            near = did_you_mean(name, [n for n in self.names if n])
            raise DataError(f"{self.path} has no column {name!r}: {near}{mending}.")
        if self.names.count(name) > 1:
            raise DataError(f"{self.path} names the column {name!r} twice: rename or drop one.")
        at = self.names.index(name)
        return [row[at] for row in self.rows]

    def column_or(self, name: str, value: str = "") -> list[str]:
        """Values of one column; `value` in each row where none has that name."""
        return self.column(name) if name in self.names else [value] * len(self.rows)

    def fault(self, row: int, words: str) -> DataError:
        """Return the error of a row, which names its line of the file."""
        return DataError(f"{self.path}, line {self.lines[row]}: {words}")

    def box(self, row: int, cells: Sequence[str]) -> list[float]:
        """Read the cells of a row's box as numbers; a `DataError` names the line."""
        try:
            return [float(cell) for cell in cells]
        except ValueError:
            raise self.fault(row, f"the box {', '.join(cells)} is no numbers: take it as it was published.") from None

    def numbers(self, name: str, what: str) -> list[float | None]:
        """Values of one column as numbers, None where blank; a `DataError` names the line and `what` it should be."""
        found: list[float | None] = []
        for row, cell in enumerate(self.column(name)):
            try:
                number = float(cell or "nan")
            except ValueError:
                words = f"{what} must be a number ({name} is {cell!r}): leave unknown ones blank."
                raise self.fault(row, words) from None
            found.append(None if math.isnan(number) else number)
        return found

    def check_word(self, row: int, word: str, known: Collection[str], *, what: str = "finding") -> None:
        """Refuse a word of a row that is none of the data set's."""
        if word not in known:
            raise self.fault(row, f"{word!r} is no {what} of the set: {did_you_mean(word, known)}.")

    def named(self, field: str) -> list[str]:
        """Values of the column of a field, which ``--column`` may name; a `DataError` says so where there is none."""
        if field not in self.names:
            raise DataError(
                f"{self.path} has no column {field!r}: say which one it is, --column {field}=COLUMN "
                f"(there are {', '.join(filter(None, self.names))})."
            )
        return self.column(field)

    def renamed(self, columns: Mapping[str, str], *, known: Sequence[str] = ()) -> Table:
        """Return the table with columns under other names; one that had such a name before has none.

        Args:
            columns: name -> column that gets it.
            known: names that are of use, all where none is given; another one is a `ConfigError`.
        """
        for name, column in columns.items():
            if known and name not in known:
                raise ConfigError(f"--column {name}={column} is of no use here: {did_you_mean(name, known)}.")
            self.column(column)
        given = {column: name for name, column in columns.items()}
        names = tuple(given.get(name, "" if name in columns else name) for name in self.names)
        return replace(self, names=names)


def parse_columns(words: Sequence[str], *, short: bool = True) -> dict[str, str]:
    """Read ``--column FIELD=COLUMN`` words; `short` takes ``patient_id`` and ``study_id`` as identifiers' fields.

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


def _unpacked(path: Path, packed: bytes) -> bytearray:
    data, limit = bytearray(), max(_FREE_BYTES, _MAX_RATIO * len(packed))
    with gzip.open(io.BytesIO(packed)) as stream:
        while piece := stream.read(1 << 20):
            data += piece
            if len(data) > limit:
                raise DataError(f"{path} unpacks to more than {limit} bytes, as no table does: unpack it yourself.")
    return data


def _plain(cell: str) -> str:
    cell = cell.strip()
    return cell[2:-1].strip() if cell[:2] == '="' and cell[2:].endswith('"') else cell


def _decoded(path: Path, data: bytes | bytearray, encoding: str) -> str:
    utf8 = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
    text = data.decode("utf-8-sig" if utf8 else encoding)
    if not utf8 and not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            return text
        raise DataError(f"{path} is UTF-8; read as {encoding}, a letter beyond ASCII would be several: leave it out.")
    return text


def read_table(path: Path, *, encoding: str = "utf-8-sig", whole: bool = False) -> Table:
    r"""Read a CSV; the separator is the one of comma, semicolon and tab that stands most often in the header.

    Blank lines above the header, and Excel's ``sep=;``, which then names the separator, are passed over. Excel's
    ``="007"`` is 007. A file whose name ends in ``.gz`` is unpacked. `whole` refuses a row with too few values.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "t.csv"
        >>> _ = path.write_text("a;b\n1;2\n")
        >>> read_table(path).column("b")
        ['2']
    """
    if path.exists() and not path.is_file():  # a device may have no end, a pipe nobody who writes to it
        raise DataError(f"The table {path} {no_file(path)}: name a file{' in it' if path.is_dir() else ''}.")
    try:
        data = path.read_bytes()
        # Universal newlines, as open() in text mode has them.
        text = _decoded(path, _unpacked(path, data) if path.suffix == ".gz" else data, encoding)
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        there = ", ".join(sorted(each.name for each in path.parent.glob("*.[ct]sv*"))[:5]) or "no table"
        raise DataError(f"The table {path} does not exist: check name and root folder ({there} there).") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is no whole gzip file ({error}): download it again.") from None
    except (UnicodeDecodeError, LookupError):
        raise DataError(
            f"{path} is not in the encoding {encoding}: save it as UTF-8, a spreadsheet's 'CSV UTF-8', or name its own "
            "where the command takes one, such as cp1252 of Windows in western Europe (--encoding cp1252; of the "
            "layouts csv and hospital encoding=cp1252, of `train` data.layout.encoding=cp1252)."
        ) from None
    above, separator = 0, ""
    while found := _ABOVE.match(text):
        above, separator, text = above + 1, found[1] or separator, text[found.end() :]
    none = DataError(f"{path} has no rows: export the table again.")
    if not text.strip():
        raise none
    header = text.split("\n", 1)[0]
    delimiter = separator or max(",;\t", key=header.count)
    # A report may be longer than the module's default limit of 131,072 characters.
    csv.field_size_limit(1 << 24)
    reader = csv.reader(io.StringIO(f"{text}\n{_END}", newline=""), delimiter=delimiter)
    try:
        names = tuple(name.strip() for name in next(reader, []))
        _refuse_open(path, names, line=above + 1)
        rows, lines, counts = [], [], []
        last = reader.line_num
        for row in reader:
            if row == [_END]:
                break
            line, last = above + last + 1, reader.line_num
            _refuse_open(path, row, line=line)
            if not any(value.strip() for value in row):
                continue
            if len(row) > len(names) or (whole and len(row) < len(names)):
                raise DataError(
                    f"{path}, line {line}: {len(row)} values under {len(names)} columns: quote "
                    f"values that hold {delimiter!r} or a line break."
                )
            rows.append(tuple(map(_plain, row)) + ("",) * (len(names) - len(row)))
            lines.append(line)
            counts.append(len(row))
    except csv.Error as error:
        raise DataError(
            f"{path}, line {above + reader.line_num}, is not CSV ({error}): export the table again."
        ) from None
    if not rows:
        raise none
    _refuse_torn(path, counts, lines, len(names))
    return Table(path, names, tuple(rows), tuple(lines))


def _refuse_open(path: Path, row: Sequence[str], *, line: int) -> None:
    if row and row[-1].endswith(_END):
        raise DataError(f"{path}, line {line}: a quote opens and is never closed: close it, or write it twice.")


def _refuse_torn(path: Path, counts: Sequence[int], lines: Sequence[int], width: int) -> None:
    """Refuse what a line break without quotes tears: half a report would be a record, without what stood behind it.

    Pieces of a row are one value alone, or short rows, one after the other, that have the values of one row together.
    """
    for at, count in enumerate(counts):
        first, more = at, count - 1
        while count < width and more < width - 1 and first and counts[first - 1] < width:
            first -= 1
            more += counts[first] - 1
        if count < width and (count == 1 or (first < at and more == width - 1)):
            raise DataError(
                f"{path}, line {lines[at]}: {count} values under {width} columns: quote values that hold a line break, "
                "and write a separator for each blank."
            )


def linked(columns: Sequence[Sequence[str] | None]) -> list[str]:
    """Name rows by the first row that a chain of equal, not blank values links them to.

    Example:
        >>> linked([["7", "8", "9", ""], ["a", "b", "a", "b"]])
        ['7', '8', '7', '8']
    """
    there = [column for column in columns if column is not None]
    parent = list(range(len(there[0])))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    for column in there:
        first: dict[str, int] = {}
        for row, value in enumerate(column):
            if value:
                a, b = root(first.setdefault(value, row)), root(row)
                parent[max(a, b)] = min(a, b)
    # A row without any value stays without a patient: the split refuses it instead of guessing.
    return [next((column[root(row)] for column in there if column[root(row)]), "") for row in range(len(parent))]


def box_cells(name: str, cells: Sequence[str]) -> list[object]:
    """Read cells such as ``[[10, 20, 50, 60]]``; ``[]`` says that there is none, a blank that nobody knows.

    Example:
        >>> box_cells("boxes.mass", ["[[1, 2, 3, 4]]", "[]", ""])
        [[[1, 2, 3, 4]], [], None]
    """
    return [_list(name, cell) if cell else None for cell in cells]


def mask_cells(name: str, cells: Sequence[str], shape: tuple[int, int] | None) -> list[object]:
    """Read cells of a mask column: paths, ``[height, width, runs ...]`` or, with `shape`, pairs "start length".

    `shape` is the (height, width) of the images of such pairs.

    Example:
        >>> mask_cells("mask.f", ["m/a.png", ""], None), mask_cells("mask.f", ["2 3", "-1"], (2, 3))
        (['m/a.png', None], [[2, 3, 1, 3, 2], [2, 3, 6]])
    """
    if shape is not None:
        return [_pairs(name, cell, shape) if cell else None for cell in cells]
    if any(cell.startswith("[") for cell in cells):
        return [_list(name, cell) if cell else None for cell in cells]
    return [cell or None for cell in cells]


def pairs_to_runs(text: str, shape: tuple[int, int]) -> list[int]:
    """Return the run lengths of pairs "start length", counted from 1 down the columns; "-1" is an empty mask.

    Example:
        >>> pairs_to_runs("2 3", (2, 3)), pairs_to_runs("5 2 1 1", (2, 3))
        ([2, 3, 1, 3, 2], [2, 3, 0, 1, 3, 2])
    """
    numbers = [] if text.strip() == "-1" else [int(number) for number in text.split()]
    spans = sorted((start - 1, start - 1 + length) for start, length in zip(numbers[::2], numbers[1::2], strict=True))
    edges = [0, *(edge for span in spans for edge in span), shape[0] * shape[1]]
    runs = [after - before for before, after in pairwise(edges)]
    if min(runs) < 0:
        raise ValueError("they overlap or leave the picture")
    return [*shape, *(runs if runs[-1] or len(runs) == 1 else runs[:-1])]


def _pairs(name: str, cell: str, shape: tuple[int, int]) -> list[int]:
    try:
        return pairs_to_runs(cell, shape)
    except ValueError as error:
        raise DataError(
            f"The column {name!r} holds {cell[:40]!r}, which is no pairs of start and length within {shape} ({error}): "
            "mend it, or change run_lengths."
        ) from None


def _list(name: str, cell: str) -> list[object]:
    try:
        found = json.loads(cell)
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise DataError(f"The column {name!r} holds {cell[:40]!r}, which is no list: write it as [..., ...].")
    return found
