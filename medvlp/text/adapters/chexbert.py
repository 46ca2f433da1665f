"""CheXbert's table -> labels: present, absent, uncertain and not mentioned kept apart.

CheXbert (Smit et al., EMNLP 2020) writes ``labeled_reports.csv``: the report, then 14 conditions with blank (not
mentioned), 1, 0 and -1 (uncertain), the codes of the CheXpert labeller. Its network counts classes, and some exports
keep these: 0 blank, 1 positive, 2 negative, 3 uncertain. 0 and 1 stand in both, so the caller names the codes.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from medvlp.core.errors import ConfigError, DataError

__all__ = ["CHEXBERT_FINDINGS", "ChexbertCodes", "ChexbertRow", "read_chexbert"]

ChexbertCodes = Literal["labels", "classes"]

CHEXBERT_FINDINGS: dict[str, str] = {
    "Enlarged Cardiomediastinum": "enlarged_cardiomediastinum",
    "Cardiomegaly": "cardiomegaly",
    "Lung Opacity": "lung_opacity",
    "Lung Lesion": "lung_lesion",
    "Edema": "edema",
    "Consolidation": "consolidation",
    "Pneumonia": "pneumonia",
    "Atelectasis": "atelectasis",
    "Pneumothorax": "pneumothorax",
    "Pleural Effusion": "effusion",
    "Pleural Other": "pleural_other",
    "Fracture": "fracture",
    "Support Devices": "support_devices",
    "No Finding": "no_finding",
}
_CODES: dict[ChexbertCodes, dict[float | None, float | None]] = {
    "labels": {None: None, 1.0: 1.0, 0.0: 0.0, -1.0: -1.0},
    "classes": {0.0: None, 1.0: 1.0, 2.0: 0.0, 3.0: -1.0},
}


@dataclass(frozen=True, slots=True)
class ChexbertRow:
    """One report of CheXbert's table.

    Attributes:
        others: the columns that are no condition (``Report Impression``, ids), as written.
        labels: finding -> 1 present, 0 absent, -1 uncertain, None not mentioned.
    """

    others: dict[str, str]
    labels: dict[str, float | None]


def read_chexbert(path: Path, *, codes: ChexbertCodes = "labels") -> tuple[ChexbertRow, ...]:
    r"""Read CheXbert's CSV.

    Args:
        path: of the table.
        codes: ``"labels"`` for blank, 1, 0, -1; ``"classes"`` for 0 (blank), 1, 2 (negative), 3 (uncertain).

    Raises:
        ConfigError: if `codes` is unknown.
        DataError: if the file is missing or empty, lacks a condition, or holds a value that the codes do not have.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "labeled_reports.csv"
        >>> names = ",".join(CHEXBERT_FINDINGS)
        >>> _ = path.write_text(f"Report Impression,{names}\nSmall effusion.,,,,,,,,,,1.0,,,,\n")
        >>> row = read_chexbert(path)[0]
        >>> row.labels["effusion"], row.labels["edema"], row.others
        (1.0, None, {'Report Impression': 'Small effusion.'})
    """
    if codes not in get_args(ChexbertCodes):
        raise ConfigError(f"codes is {codes!r}, allowed are {', '.join(get_args(ChexbertCodes))}.")
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle)
            missing = [name for name in CHEXBERT_FINDINGS if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"{path} lacks CheXbert's column {missing[0]!r} ({len(missing)} of 14 are missing): give the table "
                    "that CheXbert's label.py writes."
                )
            rows = tuple(_row(row, codes, f"{path}, line {reader.line_num}") for row in reader)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: check the path.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV in UTF-8 ({error}): export it again.") from None
    if not rows:
        raise DataError(f"{path} has no rows: run CheXbert again.")
    return rows


def _row(row: dict[str, str], codes: ChexbertCodes, place: str) -> ChexbertRow:
    labels = {finding: _label(row[name], codes, f"{place}, {name}") for name, finding in CHEXBERT_FINDINGS.items()}
    return ChexbertRow({name: value for name, value in row.items() if name not in CHEXBERT_FINDINGS}, labels)


def _label(text: str | None, codes: ChexbertCodes, place: str) -> float | None:
    try:
        value = float(text) if text and text.strip() and text.strip().lower() != "nan" else None
    except ValueError:
        value = float("nan")
    if value not in _CODES[codes]:
        other = "classes" if codes == "labels" else "labels"
        hint = f"; codes={other!r} has it, set that" if value in _CODES[other] else ""
        allowed = ", ".join("blank" if each is None else f"{each:g}" for each in _CODES[codes])
        raise DataError(
            f"{place} is {text!r}, allowed with codes={codes!r} are {allowed}{hint or ': check the table'}."
        )
    return _CODES[codes][value]
