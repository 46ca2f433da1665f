"""``rad_chestct``: chest CT of Duke (Draelos et al. 2021), ``.npz`` volumes that are unpacked once, one row a scan.

The tables have a column for each abnormality at each place (``nodule*left_upper``): a label is 1 where any place is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from medvlp.core.errors import DataError
from medvlp.core.grouped import grouped
from medvlp.data.cards import load_card
from medvlp.data.layouts._files import OnProgress, Root, by_name, list_files, write_volume
from medvlp.data.layouts._published import Row, find_table, manifest_of, optional_table
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import Progress, notify, run_chunks
from medvlp.data.text_table import read_table
from medvlp.io.archive import read_arrays

_PARTS = {"train": "imgtrain", "validate": "imgvalid", "test": "imgtest"}
_LABELS = "{}_Abnormality_and_Location_Labels.csv"
_PATIENTS = ("Summary_3630.csv", "CT_Scan_Metadata_Complete_35747.csv")
_SPACING = 0.8


def index(
    root: Root,
    *,
    every_abnormality: bool = False,
    unpack: Path | None = None,
    require_files: bool = True,
    workers: int = 0,
    progress: OnProgress = None,
) -> Manifest:
    """Index the scans that the tables name.

    Columns: ``id`` and ``id.study`` (``tst34780``), ``id.patient`` (``mrn12644``), ``volume`` (NIfTI in Hounsfield
    units, -1000 to 1000, 0.8 mm), ``label.FINDING``, ``split`` (train, validate, test).

    Args:
        root: folder of the tables and of the ``.npz`` files, these also in folders below.
        every_abnormality: the release's other abnormalities too, by its own names; without it the 16 that CT-RATE has.
        unpack: folder that volumes are written to; default ``root/nifti``. Those that are there stay, and need no
            ``.npz`` any more.
        require_files: leave out, and list, scans whose volume is not there.
        workers: processes for unpacking.

    Raises:
        DataError: if the release is not as it was published, or nothing of it is there.
    """
    folder = unpack or root / "nifti"
    patients = read_table(find_table(root, _PATIENTS, what="table of patients"))
    patient_of = dict(zip(patients.column("NoteAcc_DEID"), patients.column("MRN_DEID"), strict=True))
    rows: list[Row] = []
    for part, word in _PARTS.items():
        path = optional_table(root, [_LABELS.format(word)])
        for name, labels in _labels(path, every_abnormality).items() if path is not None else ():
            if not patient_of.get(name):
                raise DataError(f"{patients.path} does not say whose scan {name} is: download both tables again.")
            row: Row = {"id": name, "id.patient": patient_of[name], "id.study": name, "volume": f"{name}.nii.gz"}
            rows.append(row | labels | {"split": part})
    if not rows:
        raise DataError(f"{root} holds none of RAD-ChestCT's tables of labels ({_LABELS.format('imgtest')} ...).")
    damaged = _unpacked(root, folder, [str(row["id"]) for row in rows], workers, progress)
    return manifest_of(
        [row for row in rows if row["id"] not in damaged],
        root=folder,
        layout="rad_chestct",
        files={path.name for path in folder.glob("*.nii.gz")} if require_files else None,
        skipped={"unreadable": damaged},
        field="volume",
    )


def _labels(path: Path, every: bool) -> dict[str, Row]:
    """Scan -> its labels; the table has 4,368 columns, which are read as numbers at once."""
    try:
        table = csv.read_csv(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} cannot be read as a table ({error}): download it again.") from None
    places = grouped((name.partition("*")[0], table.column(name).to_numpy()) for name in table.column_names)
    if "NoteAcc_DEID" not in places:
        raise DataError(f"{path} has no column 'NoteAcc_DEID': take the table as it was published.")
    names = [str(name) for name in places.pop("NoteAcc_DEID")[0]]
    words = dict(load_card("rad_chestct").labels)
    if every:
        words |= {word: word for word in places if word not in words.values()}
    labels: dict[str, list[int]] = {}
    for finding, word in words.items():
        if word not in places:
            raise DataError(f"{path} has no column '{word}*PLACE': take the table as it was published.")
        values = np.stack(places[word])
        if not np.isin(values, (0, 1)).all():
            raise DataError(f"{path}: a label of {word!r} is neither 0 nor 1: take the table as it was published.")
        labels[f"label.{finding}"] = values.max(axis=0).astype(int).tolist()
    return {name: {label: column[at] for label, column in labels.items()} for at, name in enumerate(names)}


def _unpacked(root: Path, folder: Path, names: list[str], workers: int, progress: Progress | None) -> list[str]:
    """Write what is not there yet; returns the scans whose file cannot be read."""
    packed = by_name(list_files(root, suffixes=(".npz",)))
    work = [
        (name, packed[f"{name}.npz"][0])
        for name in names
        if f"{name}.npz" in packed and not (folder / f"{name}.nii.gz").is_file()
    ]
    damaged: list[str] = []
    done = run_chunks(_unpack, (root, folder), work, workers=workers)
    for count, ((name, _), whole) in enumerate(zip(work, done, strict=True), start=1):
        damaged += [] if whole else [name]
        notify(progress, count, len(work))
    return damaged


def _unpack(shared: tuple[Path, Path], scan: tuple[str, str]) -> bool:
    (root, folder), (name, source) = shared, scan
    try:
        (voxels,) = read_arrays(root / source, ["ct"])
    except ValueError:
        return False
    if voxels.ndim != 3 or voxels.dtype != np.int16:
        return False
    # The release's axes run to the feet, the back and the left (the columns' names in its table of extrema say so).
    write_volume(folder / f"{name}.nii.gz", voxels[::-1], spacing=_SPACING)
    return True
