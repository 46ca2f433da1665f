"""What was planted in a synthetic hospital, read back from its truth tables for evaluation and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

__all__ = ["Planted", "PlantedBox", "PlantedFinding", "read_planted"]


@dataclass(frozen=True, slots=True)
class PlantedBox:
    """A finding's projection, in pixels of the stored image, half open."""

    name: str
    side: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class PlantedFinding:
    """A finding of a study; size in mm."""

    name: str
    side: str
    lobe: str
    severity: str
    size: float


@dataclass(frozen=True)
class Planted:
    """The truth of a hospital.

    Attributes:
        boxes: image path relative to the hospital -> its boxes.
        findings: study id -> its findings.
        sentences: (study id, finding) -> the report's sentence that states it.
    """

    boxes: Mapping[str, tuple[PlantedBox, ...]]
    findings: Mapping[str, tuple[PlantedFinding, ...]]
    sentences: Mapping[tuple[str, str], str]


def read_planted(root: Path) -> Planted | None:
    """Return the truth of a synthetic hospital; None where the folder is another data set."""
    truth = root / "truth"
    if not (root / "cohort.json").is_file() or not (truth / "findings.parquet").is_file():
        return None
    boxes: dict[str, list[PlantedBox]] = {}
    for row in pq.read_table(
        truth / "boxes.parquet", columns=["path", "name", "side", "x0", "y0", "x1", "y1"]
    ).to_pylist():
        box = PlantedBox(row["name"], row["side"], (row["x0"], row["y0"], row["x1"], row["y1"]))
        boxes.setdefault(row["path"], []).append(box)
    studies = pq.read_table(truth / "studies.parquet", columns=["accession", "study_id"]).to_pylist()
    study_of = {row["accession"]: row["study_id"] for row in studies}
    findings: dict[str, list[PlantedFinding]] = {}
    for row in pq.read_table(truth / "findings.parquet").to_pylist():
        found = PlantedFinding(row["name"], row["side"], row["lobe"], row["severity"], row["size_mm"])
        findings.setdefault(study_of[row["accession"]], []).append(found)
    sentences: dict[tuple[str, str], str] = {}
    for row in pq.read_table(truth / "triplets.parquet").to_pylist():
        if row["presence"] != "absent":
            sentences.setdefault((study_of[row["accession"]], row["observation"]), row["sentence"])
    return Planted(
        {path: tuple(found) for path, found in boxes.items()},
        {study: tuple(found) for study, found in findings.items()},
        sentences,
    )
