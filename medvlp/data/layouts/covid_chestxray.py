"""``covid_chestxray``: the COVID-19 image data collection (Cohen et al. 2020), pictures of case reports.

Its ``metadata.csv`` has a column without a name behind ``other_notes``; the same case may stand under two numbers
(Eurorad 10483 and 10665), so rows of one address are one patient, except at addresses of collections; rows of CT lie
between those of X-rays.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from medvlp.data._columns import plain_numbers
from medvlp.data.cards import load_card
from medvlp.data.layouts._files import Root, list_files, skip
from medvlp.data.layouts._published import Row, manifest_of
from medvlp.data.manifest import Manifest
from medvlp.data.text_table import linked, read_table

_CARD = "covid_chestxray"
_UNKNOWN = {"", "todo", "unknown"}
_VIEWS = {"APS": "AP", "L": "LATERAL"}
_NUMBERS = ("age", "offset")
_WORDS = ("sex", "survival", "intubated", "went_icu", "modality", "license")
_NEEDED = (
    "patientid", "offset", "sex", "age", "finding", "survival", "view", "modality", "location", "folder", "filename",
    "url", "clinical_notes", "other_notes",
)  # fmt: skip
_COLLECTIONS = ("github.com",)  # an address there holds many patients


def index(
    root: Root,
    *,
    table: str = "metadata.csv",
    modalities: tuple[str, ...] = ("X-ray",),
    masks: str | None = None,
    require_files: bool = True,
) -> Manifest:
    r"""Index the table, one row an image.

    Columns: ``id`` and ``image`` (``folder/filename``), ``text`` (clinical notes), ``text.other_notes``,
    ``id.patient``, ``view_position`` (AP for AP Supine, LATERAL for L), ``position`` (supine, erect), ``sex``, ``age``,
    ``offset`` (days since the first symptom or admission), ``survival``, ``intubated`` and ``went_icu`` (Y, N),
    ``site`` (the location), ``source`` (host of the address), ``license``, ``finding`` (as it stands) and the labels of
    the card.

    A label is 1 where the diagnosis says so or implies it (COVID-19 is a viral pneumonia), 0 where it names another
    kind, and missing where it stops above (``Pneumonia`` does not tell which) or is ``todo`` or ``Unknown``.

    Args:
        root: folder of the repository.
        table: its table.
        modalities: wanted values of its column; volumes (NIfTI) are never rows of this layout.
        masks: folder of lung masks ``STEM_mask.png``, below root; makes ``mask.lungs``.
        require_files: leave out, and list, images whose file is not there.

    Raises:
        DataError: if the table or one of its columns is missing, or no image exists.
    """
    source = read_table(root / table)
    columns = {name: source.column(name) for name in _NEEDED}
    columns |= {name: source.column(name) for name in _WORDS if name in source.names}
    urls = [url if urlsplit(url).hostname not in _COLLECTIONS else "" for url in columns["url"]]
    patients = linked([columns["patientid"], urls])
    numbers = {name: plain_numbers(name, columns[name]) for name in _NUMBERS}
    files = frozenset(list_files(root, [*sorted(set(columns["folder"])), *([masks] if masks else [])]))
    skipped: dict[str, list[str]] = {}
    rows: list[Row] = []
    for place in range(len(source.rows)):
        of = {name: values[place] for name, values in columns.items()}
        path = f"{of['folder']}/{of['filename']}"
        if of["modality"] not in modalities:
            skip(skipped, "other_modality", path)
        elif of["filename"].endswith((".nii", ".nii.gz")):
            skip(skipped, "volume", path)
        else:
            row = _row(of, path, patients[place]) | {name: values[place] for name, values in numbers.items()}
            mask = f"{masks}/{of['filename'].rpartition('.')[0]}_mask.png"
            rows.append(row | ({"mask.lungs": mask if mask in files else None} if masks else {}))
    there, meta = files if require_files else None, {"table": table}
    return manifest_of(rows, root=root, layout=_CARD, files=there, skipped=skipped, meta=meta)


def _row(of: dict[str, str], path: str, patient: str) -> Row:
    view = of["view"]
    return {
        "id": path,
        "id.patient": patient,
        "image": path,
        "text": of["clinical_notes"],
        "text.other_notes": of["other_notes"],
        "view_position": "AP" if view.startswith("AP ") else _VIEWS.get(view, view),
        "position": "supine" if view == "APS" else next((w for w in ("supine", "erect") if w in view.lower()), ""),
        **{name: of.get(name, "") for name in _WORDS},
        "site": of["location"],
        "source": urlsplit(of["url"]).hostname or "",
        "finding": of["finding"],
        **{f"label.{name}": value for name, value in _labels(of["finding"]).items()},
    }


def _labels(finding: str) -> dict[str, int | None]:
    """What a diagnosis says of each label; its words are a path (``Pneumonia/Viral/COVID-19``) or, earlier, a list."""
    card = load_card(_CARD)
    words = {word.strip() for word in re.split("[/,]", finding) if word.strip().lower() not in _UNKNOWN}
    kinds = card.vocabularies["kinds"]
    named = {name for name, word in card.labels.items() if word in words}
    named |= {name for name, terms in kinds.items() if words & set(terms)}
    covid, viral, bacterial = (name in named for name in ("covid19", "viral_pneumonia", "bacterial_pneumonia"))
    viral |= covid
    other = bool(words & set(kinds["pneumonia"]))  # neither viral nor bacterial: fungal, lipoid ...
    pneumonia = viral or bacterial or "pneumonia" in named
    if not named:  # nothing known of it but that it is no normal image
        return dict.fromkeys(card.labels) | ({"no_finding": 0} if words else {})
    named_kind = viral or bacterial or other or not pneumonia
    which_virus = covid or bool(words & set(kinds["viral_pneumonia"])) or not viral
    return {
        "no_finding": int("no_finding" in named),
        "pneumonia": int(pneumonia),
        "viral_pneumonia": int(viral) if named_kind else None,
        "bacterial_pneumonia": int(bacterial) if named_kind else None,
        "covid19": int(covid) if named_kind and which_virus else None,
        "tuberculosis": int("tuberculosis" in named),
    }
