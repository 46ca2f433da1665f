"""A table of films and labels as somebody has it -> a cohort whose files were read, split by patient."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medvlp.config.tree import DataConfig
from medvlp.core.errors import DataError, UserError
from medvlp.core.progress import progress
from medvlp.data.grouping import with_patients
from medvlp.data.layouts import index_cohort
from medvlp.data.layouts._files import finding_name
from medvlp.data.manifest import Manifest
from medvlp.data.quarantine import write_quarantine
from medvlp.data.readable import look_through
from medvlp.data.spellings import notes_of
from medvlp.data.text_table import read_table

logger = logging.getLogger(__name__)

_FACTS = {"view": "view_position", **{n: n for n in ("view_position", "sex", "age", "site", "scanner", "source")}}
_WORDS = {"", "nan", "0", "1", "-1", "0.0", "1.0", "-1.0"}
_SHARES = {"train": 0.6, "validate": 0.2, "test": 0.2}


@dataclass(frozen=True)
class Films:
    """A table after every file of it was read.

    Attributes:
        manifest: Parquet file of the readable films.
        findings: finding -> patients with it and patients without.
        split: whether the table says which part each film is in.
    """

    manifest: Path
    findings: dict[str, tuple[int, int]]
    split: bool


def read_films(
    images: Path,
    table: Path,
    out: Path,
    *,
    one_patient_per_image: bool,
    workers: int,
    field: str = "image",
    encoding: str = "utf-8-sig",
) -> Films:
    """Read a table of films and every file that it names.

    Args:
        images: folder of the files.
        table: CSV with ``path``, ``patient_id`` and a column a finding: 1 present, 0 absent, -1 uncertain, blank
            unknown. ``view_position``, ``sex``, ``age``, ``site``, ``scanner`` and ``source`` become groups,
            ``split`` (train, validate or val, test) is used as it stands; other columns are logged and left out.
        out: manifest, a Parquet file; unreadable films are listed beside it.
        one_patient_per_image: whether each film is another patient, in a table that names none.
        workers: processes that read.
        field: as which the model reads the files; ``volume`` for one of volumes.
        encoding: of the table.

    Raises:
        UserError: if a column is missing.
        DataError: if no column holds labels, two are of one finding, two rows name one file, one names no patient, or
            none can be read.
    """
    source = read_table(table, encoding=encoding)
    if "path" not in source.names:
        raise UserError(f"{table} has no column path (there: {', '.join(source.names)}): name the files' column so.")
    named = "patient_id" in source.names
    if named == one_patient_per_image:
        fault = (
            "has a column patient_id, and --one-patient-per-image says otherwise: leave one of them out"
            if named
            else "has no column patient_id, and films of one patient in training and in test would flatter every "
            "number: add it, or say --one-patient-per-image where each film is another patient"
        )
        raise UserError(f"{table} {fault}.")
    columns = {field: "path", **({"patient_id": "patient_id"} if named else {})}
    columns |= {_FACTS[name]: name for name in source.names if name in _FACTS}
    split = "split" in source.names
    columns |= {"split": "split"} if split else {}
    rest = [name for name in source.names if name and name not in columns.values()]
    labels = [name for name in rest if {value.lower() for value in source.column(name)} <= _WORDS]
    if left := [name for name in rest if name not in labels]:
        logger.info(f"Not labels of 1, 0, -1 or blank, and left out: {', '.join(left)}.")
    if not labels:
        raise DataError(f"{table} has no column of labels: write 1, 0, -1 (uncertain) or blank, one column a finding.")
    for name in labels:
        label = f"label.{finding_name(name)}"
        if label in columns:  # a name that stands twice was refused when it was read
            raise DataError(f"{table} has two columns of the finding {name!r}: rename or drop one.")
        columns[label] = name
    named_files = (os.path.relpath(images / path, images) for path in source.column("path") if path)  # ./a.png is a.png
    ((film, rows),) = Counter(named_files).most_common(1) or [("", 0)]
    if rows > 1:
        raise DataError(f"{table} names the file {film} in {rows} rows, and would count it so often: leave one row.")
    whole = index_cohort("csv", images, {"columns": columns, "table": str(table.resolve()), "encoding": encoding})
    manifest = whole.having(field)
    if blank := len(whole) - len(manifest):
        logger.info(f"Rows of {table} that name no file, and are left out: {blank}.")
    if named and (nobody := manifest.arrow("id.patient").null_count):
        raise DataError(
            f"{table} has {nobody} rows with a film and without a patient_id, whose patient could stand in training "
            "and in test: fill it in, or leave those rows out."
        )
    for sentence in notes_of(manifest):
        logger.info(sentence)
    manifest = manifest if named else with_patients(manifest, "id")
    with progress("Checking", unit="images") as tell:
        survey = look_through(manifest, workers=workers, progress=tell)
    listed = out.with_suffix(".quarantine.csv")
    write_quarantine(listed, survey.quarantined)
    survey.manifest.save(out)
    if survey.quarantined:
        logger.info(f"{len(survey.quarantined)} films cannot be read; they are listed in {listed}.")
    found = {name.removeprefix("label."): _patients(survey.manifest, name) for name in manifest.names_of("label")}
    return Films(out, found, split)


def _patients(manifest: Manifest, label: str) -> tuple[int, int]:
    """Return how many patients have a film with it, and how many one without."""
    values, patients = np.asarray(manifest.column(label), dtype=float), manifest.column("id.patient")
    return len(set(patients[values == 1])), len(set(patients[values == 0]))


def data_of(
    images: Path, films: Films, *, test: tuple[Path, Films] | None, labels: Sequence[str], seed: int, allow_leaks: bool
) -> DataConfig:
    """Return the data of a run: split by patient and stratified by label, or by the tables.

    Args:
        images: folder of the films.
        films: the table.
        test: folder and table that are judged; the first table is then for training and validation alone.
        labels: findings by which is stratified.
        seed: of the split.
        allow_leaks: whether films that stand on two sides are marked and not refused.
    """
    shares = {"train": 0.75, "validate": 0.25} if test else _SHARES
    split = {"name": "own"} if films.split else {"name": "stratified", "fractions": shares, "seed": seed}
    split |= {} if films.split else {"labels": list(labels)}
    own: dict[str, Any] = {"root": str(images), "manifest": str(films.manifest), "split": split}
    own |= {"where": {"split": ["train", "validate"]}} if films.split and test else {}
    if test is None:
        return DataConfig(**own, allow_leaks=allow_leaks)
    other = DataConfig(root=str(test[0]), manifest=str(test[1].manifest), part="test")
    return DataConfig(sets={"train": DataConfig(**own), "test": other}, allow_leaks=allow_leaks)
