"""``padchest``: PadChest with its table of labels (Bustos et al. 2020), one row an image."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Literal

from medvlp.data.cards import load_card
from medvlp.data.layouts._dicom_tree import years
from medvlp.data.layouts._files import OnProgress, Root, by_name, list_files
from medvlp.data.layouts._published import find_table, published_manifest
from medvlp.data.manifest import Manifest
from medvlp.data.text_table import Table, linked, read_table

_TABLE = "PADCHEST_chest_x_ray_images_labels_160K*.csv"
_VIEWS = {"PA": "PA", "AP": "AP", "AP_horizontal": "AP", "L": "LATERAL", "COSTAL": "COSTAL"}


def index(
    root: Root,
    *,
    labelled_by: Literal["all", "physician"] = "all",
    require_files: bool = True,
    workers: int = 0,
    progress: OnProgress = None,
) -> Manifest:
    """Index PadChest.

    Columns: ``id`` and ``image`` (16-bit PNG), ``id.patient`` (two numbers that share a study are one patient),
    ``id.study``, ``text`` (the report, Spanish, stemmed), ``label.FINDING`` (1 where a term of the finding is among
    Labels, else 0; missing where nothing was labelled, or the image is unchanged from a prior, excluded or suboptimal),
    ``view_position`` (PA, AP, LATERAL, COSTAL; the release's ``AP_horizontal`` is AP), ``position`` (supine for it),
    ``sex``, ``age`` (year of the study less the year of birth), ``labelled_by`` (Physician, RNN_model).

    Args:
        root: folder of the table, and of the archives ``0`` to ``54`` unpacked, or of all images.
        labelled_by: ``physician`` keeps the quarter that people labelled; the others were labelled by a network.
        require_files: leave out, and list, rows whose image is not there.
        workers: processes for listing folders.

    Raises:
        DataError: if the table or a column is missing, a list of labels is none, or no image is there.
    """
    table = read_table(find_table(root, [_TABLE], what="table of PadChest"))
    names, methods = table.column("ImageID"), table.column("MethodLabel")
    files = by_name(list_files(root, suffixes=(".png",), workers=workers, progress=progress))
    paths = [next(iter(files.get(name, ())), None) for name in names]
    columns: dict[str, Sequence[object]] = {
        "id": names,
        "id.patient": linked([table.column("PatientID"), table.column("StudyID")]),
        "id.study": table.column("StudyID"),
        "image": paths,
        "text": table.column("Report"),
        **_labels(table),
        "view_position": [_VIEWS.get(view) for view in table.column("Projection")],
        "position": ["supine" if view == "AP_horizontal" else None for view in table.column("Projection")],
        "sex": [sex if sex in ("F", "M") else None for sex in table.column("PatientSex_DICOM")],
        **_ages(table),
        "labelled_by": methods,
    }
    reasons = [
        ("labelled_by_network" if labelled_by == "physician" and method != "Physician" else "")
        or ("missing_file" if require_files and path is None else "")
        for method, path in zip(methods, paths, strict=True)
    ]
    twice = {"second_copy": [path for some in files.values() for path in some[1:]]}
    meta = {"layout": "padchest", "tables": [table.path.name]}
    return published_manifest(columns, root=root, reasons=reasons, source=str(table.path), meta=meta, skipped=twice)


def _ages(table: Table) -> dict[str, list[int | None]]:
    """Years from birth (1930.0, a year alone; blank for 6 images) to the study (20140915); no dates enter."""
    if "StudyDate_DICOM" not in table.names or "PatientBirth" not in table.names:
        return {}
    spans = [
        (day[:4], birth.partition(".")[0])
        for day, birth in zip(table.column("StudyDate_DICOM"), table.column("PatientBirth"), strict=True)
    ]
    known = [day.isdecimal() and birth.isdecimal() for day, birth in spans]
    ages = [
        years(str(int(day) - int(birth))) if sure else None for (day, birth), sure in zip(spans, known, strict=True)
    ]
    return {"age": ages}


def _labels(table: Table) -> dict[str, list[int | None]]:
    """Read lists of terms that stand as Python's words for a list."""
    card, found = load_card("padchest"), list[set[str] | None]()
    unknown = set(card.vocabularies["no_label"]["unknown"])
    for row, text in enumerate(table.column("Labels")):
        try:
            listed = [] if text in ("", "nan") else ast.literal_eval(text)
        except (ValueError, SyntaxError):
            listed = None
        if not isinstance(listed, list) or not all(isinstance(term, str) for term in listed):
            raise table.fault(row, "Labels is no list of terms: take the table as published.")
        terms = {term.strip().lower() for term in listed} - {""}
        found.append(None if not terms or terms & unknown else terms)
    return {
        f"label.{finding}": [None if terms is None else int(not terms.isdisjoint(words)) for terms in found]
        for finding, words in card.vocabularies["terms"].items()
    }
