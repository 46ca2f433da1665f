"""Open what is to be checked: a manifest, or anybody's CSV with the columns that matter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.fields import KINDS
from medvlp.data._columns import PATH_KINDS, plain_numbers
from medvlp.data.manifest import Manifest
from medvlp.data.text_table import SHORT_NAMES, Table, read_table

_COMPARED = (*PATH_KINDS, "text", "id.patient", "id.study")
_READ = (*PATH_KINDS, "text", "id", "label", "number")


def open_cohort(
    path: Path, *, root: Path | None = None, columns: Mapping[str, str] | None = None, encoding: str = "utf-8-sig"
) -> Manifest:
    r"""Load a manifest, or make one of a CSV.

    A CSV needs no ``id`` (its rows are then numbered) and nothing to encode; columns that are named as a manifest's are
    taken as such, `columns` names the others.

    Args:
        path: Parquet, CSV or TSV.
        root: folder of the images; default: what the manifest says, or the table's own folder.
        columns: manifest field -> column of the CSV.
        encoding: of a CSV.

    Raises:
        DataError: if it cannot be read, or lacks a column that is asked for.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "rows.csv"
        >>> _ = path.write_text("ImageId,split\n1.png,train\n1.png,test\n")
        >>> open_cohort(path, columns={"image": "ImageId"}).record(1)
        {'id': 'row-000002', 'image': '1.png', 'split': 'test'}
    """
    if path.suffix.lower() not in (".csv", ".tsv"):
        if columns:
            raise ConfigError(f"{path} is no CSV, so --column has no meaning: its columns are named already.")
        return Manifest.load(path, root=root)
    table = read_table(path, encoding=encoding)
    values = _values(table, columns or {})
    if not values:
        raise DataError(
            f"{path} has no column that a check can use (it has: {', '.join(table.names)}): name them, for example "
            "--column id.patient=PatientID --column split=fold."
        )
    if "id" not in values:
        values = {"id": [f"row-{number:06d}" for number in range(1, len(table.rows) + 1)], **values}
    if not any(name.partition(".")[0] in (*PATH_KINDS, "text") for name in values):
        values["text"] = [""] * len(table.rows)
    typed = {name: plain_numbers(name, column) for name, column in values.items()}
    return Manifest.of(typed, root=root or path.resolve().parent)


def _values(table: Table, columns: Mapping[str, str]) -> dict[str, list[str]]:
    values = {field: table.column(column) for field, column in columns.items()}
    for name in table.names:
        field = SHORT_NAMES.get(name, name)
        kind = field.partition(".")[0]
        attribute = "." not in field and kind not in KINDS
        if field and field not in values and name not in columns.values() and (attribute or kind in _READ):
            values[field] = table.column(name)
    return values if any(name in values for name in _COMPARED) else {}
