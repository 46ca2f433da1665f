"""``phantom``: the synthetic hospital, read as any hospital folder, with the planted truth beside it.

Identifiers are not hashed: nobody stands behind them, and a split must be the same on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from medvlp.core.errors import DataError
from medvlp.core.files import read_json
from medvlp.core.grouped import grouped
from medvlp.data.layouts._dicom_tree import scan_tree
from medvlp.data.layouts._files import OnProgress, Root
from medvlp.data.layouts._phantom_truth import PlantedTruth, slice_rows
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import Progress
from medvlp.data.text_table import read_table

_ATTRIBUTES = ("split", "sex", "age", "site", "scanner")


def index(
    root: Root, *, slices: Annotated[int, Field(ge=0)] = 0, workers: int = 0, progress: OnProgress = None
) -> Manifest:
    """Index a phantom cohort, one row a radiograph (or CT volume), with ``label.FINDING`` of its study.

    What was planted stands in columns: ``side.FINDING`` (left, right, both), ``lobe``, ``severity``, ``size`` (of the
    largest, mm), ``sentence`` (of the report), ``boxes`` and ``mask`` (of a radiograph the projection, of a volume its
    own voxels). A finding that a study has and a picture does not show has neither box nor mask.

    Args:
        root: folder that `medvlp.phantom.cohort.make_cohort` wrote, or one that holds several of the same seed
            (``cxr``, ``ct``): the same people's radiographs and volumes, with one row each and their reports. A
            column holds places in pictures or in volumes: there it is those of the radiographs.
        slices: of a cohort of volumes, give so many slices of each a row of their own: first, for each planted finding,
            the one that shows most of it, then others evenly. ``number.slice`` says which, labels are what it shows,
            the text is what the report says that holds of it. 0: one row a volume.
        workers: processes for reading headers.

    Raises:
        DataError: if the cohort is not complete or not as its truth says, or cohorts side by side are of other people.
    """
    inside = sorted(path.parent for path in root.glob("*/cohort.json"))
    if inside and not (root / "cohort.json").is_file():
        return _joined(root, [index(part, slices=slices, workers=workers, progress=progress) for part in inside])
    if not (root / "cohort.json").is_file():
        raise DataError(
            f"{root} holds no complete phantom cohort (there is no cohort.json): make it, or go on making it, with "
            f"`medvlp phantom {root}`."
        )
    facts = read_json(root / "cohort.json")
    studies = {row["accession"]: row for row in _truth(root, "studies").to_pylist()}
    table = read_table(root / "reports.csv")
    reports = dict(zip(table.column("AccessionNumber"), table.column("Report"), strict=True))
    field = "image" if facts.get("modality") == "cxr" else "volume"
    images = _truth(root, "images").to_pylist()
    planted = {name: _truth(root, name).to_pylist() for name in ("findings", "boxes", "triplets")}
    if field == "image":
        _refuse_other_files(root, images, workers, progress)
    rows = [_row(image, studies[image["accession"]], reports, field) for image in images]
    shown = images
    if slices:
        rows = _slices(root, rows, images, planted, slices)
        volumes = {image["path"]: image for image in images}
        shown = [volumes[row[field]] for row in rows]
    truth = PlantedTruth(root, **planted)
    for row, image in zip(rows, shown, strict=True):
        row |= truth.columns(image, {name: value for name, value in row.items() if name.startswith("label.")})
    meta = {"layout": "phantom", "synthetic": True, "seed": facts.get("seed"), "note": facts.get("note")}
    return Manifest.of({name: [row[name] for row in rows] for name in rows[0]}, root=root, meta=meta)


def _joined(root: Path, parts: Sequence[Manifest]) -> Manifest:
    """Put cohorts together that lie side by side; with the seed, patients and studies are the same people's."""
    seeds = sorted({str(part.meta["seed"]) for part in parts})
    if len(seeds) > 1:
        raise DataError(
            f"{root} holds cohorts of other people (seeds {', '.join(seeds)}) under the same names: make them with one "
            "seed."
        )
    flat = any("image" in part for part in parts)
    rows = [_moved(part, i, root, places="image" in part or not flat) for part in parts for i in range(len(part))]
    names = dict.fromkeys(name for part in parts for name in part.names)
    return Manifest.of({name: [row.get(name) for row in rows] for name in names}, root=root, meta=parts[0].meta)


def _moved(part: Manifest, index: int, root: Path, *, places: bool) -> dict[str, object]:
    """Return a record with its paths as seen from the folder above, with or without boxes and masks."""
    folder, record = part.root.relative_to(root), part.record(index)
    masks = part.names_of("mask")
    for name in (*part.file_columns, *masks):
        if isinstance(record.get(name), str):
            record[name] = (folder / str(record[name])).as_posix()
    left_out = () if places else (*masks, *part.names_of("boxes"))
    return {name: value for name, value in record.items() if name not in left_out}


def _row(image: dict[str, Any], study: dict[str, Any], reports: Mapping[str, str], field: str) -> dict[str, object]:
    labels = {
        f"label.{name.removeprefix('label:')}": value for name, value in study.items() if name.startswith("label:")
    }
    return {
        "id": f"{image['accession']}-{image['view']}",
        "id.patient": study["patient_id"],
        "id.study": study["study_id"],
        field: image["path"],
        "text": reports.get(image["accession"]),
        "view_position": image["view"],
        **{name: study[name] for name in _ATTRIBUTES},
        "study_number": study["number"],
        "deidentified": "yes",
        **labels,
    }


def _slices(
    root: Path,
    rows: list[dict[str, object]],
    images: list[dict[str, Any]],
    truth: Mapping[str, list[dict[str, Any]]],
    count: int,
) -> list[dict[str, object]]:
    if "volume" not in rows[0]:
        raise DataError(f"{root} holds radiographs, which have no slices: leave slices out of the layout.")
    findings, triplets = (grouped((row["accession"], row) for row in truth[name]) for name in ("findings", "triplets"))
    return [
        own
        for row, image in zip(rows, images, strict=True)
        for own in slice_rows(
            row,
            mask=root / "truth" / "ct_masks" / Path(image["path"]).relative_to("ct"),
            findings=findings.get(image["accession"], []),
            statements=triplets.get(image["accession"], []),
            count=count,
        )
    ]


def _refuse_other_files(root: Path, images: list[dict[str, Any]], workers: int, progress: Progress | None) -> None:
    """The files on disk must be those of the truth: same paths, same studies."""
    scan = scan_tree(root, folder="dicom", modalities=("CR", "DX"), workers=workers, progress=progress)
    planted = {(image["path"], image["accession"]) for image in images}
    there = {(header.path, header.get("AccessionNumber")) for header in scan.headers}
    if planted != there:
        raise DataError(
            f"{root} lacks {len(planted - there)} radiographs of its truth and holds {len(there - planted)} others: "
            "make the cohort again in another folder."
        )


def _truth(root: Path, name: str) -> pa.Table:
    path = root / "truth" / f"{name}.parquet"
    try:
        return pq.read_table(path)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} cannot be read ({str(error).splitlines()[0]}): make the cohort again.") from None
