"""``vindr_cxr``: VinDr-CXR (Nguyen et al. 2022), boxes and findings of radiologists, from PhysioNet or from Kaggle.

Three readers looked at each training image, apart from each other; the test labels are the consensus of five. How
three readings become one label is a choice, and so an option with a name. Kaggle's release has 14 findings and no test
labels; "No finding" is its class 14, a row without a box.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from medvlp.core.errors import ConfigError, DataError
from medvlp.data.cards import load_card
from medvlp.data.layouts._files import OnProgress, Root, list_files, skip
from medvlp.data.layouts._published import Row, label_columns, manifest_of, read_headers
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import Progress
from medvlp.data.text_table import Table, read_table

_CARD = "vindr_cxr"
_KAGGLE = "train.csv"
_BOX = ("x_min", "y_min", "x_max", "y_max")
_SAME = {"Other disease": "Other diseases"}  # the test table's word
_SUFFIXES = (".dicom", ".dcm")  # of a converted copy nobody knows whether it still has the pixels of the boxes


def index(
    root: Root,
    *,
    readers: Literal["majority", "union", "unanimous", "each"] = "majority",
    headers: bool = False,
    require_files: bool = True,
    workers: int = 0,
    progress: OnProgress = None,
) -> Manifest:
    r"""Index the release, one row an image, or with ``readers="each"`` one row a reading.

    Columns: ``id`` (the image id, with ``each`` ``IMAGE:READER``), ``image``, ``id.study`` (the image id), ``split``
    (train, test), ``label.FINDING`` (1, 0), ``boxes.FINDING`` in pixels of the file (an empty list where it was not
    boxed; diseases of the whole image have none), ``readers`` (how many, or which). There is no ``id.patient``: the
    release has none and gives one image a patient. Kaggle's test images, which have no labels, are listed.

    Args:
        root: folder of ``annotations/`` (PhysioNet) or of ``train.csv`` (Kaggle).
        readers: of a training image's readers, ``majority``: more than half said so; ``union``: one did;
            ``unanimous``: all did; ``each``: every reading is a row of its own. Boxes are all those that the readers
            drew for a finding that is 1; they are not merged. No finding is counted like a finding, and is 0 where a
            finding is 1.
        headers: read sex, age and view from the DICOM files. An age of 0 means that it was not given.
        require_files: leave out, and list, images whose file is not there.
        workers: processes for reading headers.

    Raises:
        DataError: if there is no table, a finding is unknown, or no image exists.
        ConfigError: for headers without files.
    """
    if headers and not require_files:
        raise ConfigError("headers are read from the images: set require_files to true, or headers to false.")
    skipped: dict[str, list[str]] = {}
    files = frozenset(list_files(root, ["train", "test"], suffixes=_SUFFIXES))
    path_of = {path.rpartition(".")[0]: path for path in sorted(files)}
    rows: list[Row] = []
    kaggle = not (root / "annotations").is_dir()
    for part in _kaggle(root) if kaggle else _physionet(root):
        for image, of in part.readings.items():
            path = path_of.get(f"{part.split}/{image}", f"{part.split}/{image}.dicom")
            rows += _rows(image, path, of, part, readers)
    if kaggle:
        for stem, path in sorted(path_of.items()):
            if stem.startswith("test/"):
                skip(skipped, "unlabelled", path)
    if headers:
        _add_headers(root, [row for row in rows if row["image"] in files], workers, progress)
    meta: dict[str, object] = {"release": "kaggle" if kaggle else "physionet", "readers": readers}
    there = files if require_files else None
    return manifest_of(rows, root=root, layout=_CARD, files=there, skipped=skipped, meta=meta)


@dataclass
class _Reading:
    """What one reader, or the consensus, said of one image."""

    present: set[str] = field(default_factory=set)
    boxes: dict[str, list[list[float]]] = field(default_factory=dict)


_Readings = dict[str, dict[str, _Reading]]  # image -> reader -> reading


@dataclass(frozen=True)
class _Part:
    """What the tables say of one split: its readings, all findings that were asked for, and those that are boxed."""

    split: str
    readings: _Readings
    findings: list[str]
    boxed: list[str]


def _kaggle(root: Path) -> Iterable[_Part]:
    if not (root / _KAGGLE).is_file():
        raise DataError(f"{root} holds neither annotations/ (PhysioNet) nor {_KAGGLE} (Kaggle): check the root.")
    words = {word: finding for finding, (word, *_) in load_card(_CARD).vocabularies["kaggle"].items()}
    readings: _Readings = {}
    _add_boxes(readings, read_table(root / _KAGGLE), words)
    findings = list(words.values())
    yield _Part("train", readings, findings, [finding for finding in findings if finding != "no_finding"])


def _physionet(root: Path) -> Iterable[_Part]:
    card = load_card(_CARD)
    words = {word: finding for finding, word in card.labels.items()}
    boxed = list(card.vocabularies["local"])
    for split in ("train", "test"):
        path = root / "annotations" / f"image_labels_{split}.csv"
        if not path.is_file():
            continue
        table = read_table(path)
        names = {name: words[_SAME.get(name, name)] for name in table.names if _SAME.get(name, name) in words}
        lacking = sorted(set(words.values()) - set(names.values()))
        if lacking:
            raise DataError(f"{path} has no column {card.labels[lacking[0]]!r}: check which release it is.")
        readings: _Readings = {}
        who = table.column_or("rad_id", "consensus")
        columns = label_columns(table, {finding: name for name, finding in names.items()})
        for place, (image, reader) in enumerate(zip(table.column("image_id"), who, strict=True)):
            present = {finding for finding in names.values() if columns[f"label.{finding}"][place] == 1}
            readings.setdefault(image, {})[reader] = _Reading(present)
        boxes = root / "annotations" / f"annotations_{split}.csv"
        if boxes.is_file():
            _add_boxes(readings, read_table(boxes), words)
        yield _Part(split, readings, list(names.values()), boxed)


def _add_boxes(readings: _Readings, table: Table, words: dict[str, str]) -> None:
    who = table.column_or("rad_id", "consensus")
    corners = [table.column(name) for name in _BOX]
    names = zip(table.column("image_id"), table.column("class_name"), who, strict=True)
    for place, (image, word, reader) in enumerate(names):
        word = _SAME.get(word, word)
        table.check_word(place, word, words)
        reading = readings.setdefault(image, {}).setdefault(reader, _Reading())
        reading.present.add(words[word])
        box = [values[place] for values in corners]
        if all(box) and "nan" not in box:
            reading.boxes.setdefault(words[word], []).append(table.box(place, box))


def _rows(image: str, path: str, of: dict[str, _Reading], part: _Part, readers: str) -> list[Row]:
    start: Row = {"id.study": image, "image": path, "split": part.split}
    if readers == "each":
        return [
            {"id": f"{image}:{who}", **start, "readers": who} | _labels({who: reading}, part, least=1)
            for who, reading in sorted(of.items())
        ]
    least = {"majority": len(of) // 2 + 1, "union": 1, "unanimous": len(of)}[readers]
    return [{"id": image, **start, "readers": str(len(of))} | _labels(of, part, least=least)]


def _labels(of: dict[str, _Reading], part: _Part, *, least: int) -> Row:
    votes = Counter(finding for reading in of.values() for finding in reading.present)
    labels = {finding: int(votes[finding] >= least) for finding in part.findings}
    if any(value for finding, value in labels.items() if finding != "no_finding"):
        labels["no_finding"] = 0
    boxes = {
        finding: [box for who in sorted(of) for box in of[who].boxes.get(finding, []) if labels[finding]]
        for finding in part.boxed
    }
    return {f"label.{f}": value for f, value in labels.items()} | {f"boxes.{f}": some for f, some in boxes.items()}


def _add_headers(root: Path, rows: list[Row], workers: int, progress: Progress | None) -> None:
    found, _ = read_headers(root, sorted({str(row["split"]) for row in rows}), workers=workers, progress=progress)
    for row in rows:
        header = found.get(str(row["image"]))
        sex = header.get("PatientSex") if header else ""
        row["sex"] = sex if sex in ("F", "M", "O") else None
        row["age"] = (header.age or None) if header else None
        row["view_position"] = header.get("ViewPosition") if header else None
        row["deidentified"] = header.deidentified if header else None
