"""What a check says besides leaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["ADVICE", "Note"]

ADVICE: Mapping[str, str] = {
    "patient": "Split by patient (`medvlp.data.split_by_patient`), so that all records of a patient stand on one side.",
    "study": "Give all images of a study one side; splitting by patient does that too.",
    "image": "Keep one record of each image, or all of its records on one side: a table with several rows an image "
    "must be split by image, better by patient.",
    "near_image": "Look at the pairs; where they are one film, give both the side of the patient, or keep only one.",
    "report_text": "An abnormal report of this length is written once: look whether the two studies are one, and give "
    "them one side.",
    "shortcut": "Report scores within each value of the column, or balance the label over it, before believing them.",
    "overlap": "Do not train on one and test on the other; leave the shared records out of one of them.",
    "repeated_text": "Normal and short reports repeat everywhere; for retrieval count equal reports as one group.",
    "unreadable": "`medvlp data index` lists each with its reason.",
    "blank": "Look at these files; they should mostly be left out.",
    "unknown_patient": "Without `id.patient` only copies are found, not other images of the same patient.",
}
"""Kind of leak or note -> what to do."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something to know that is no leak.

    Attributes:
        kind: a key of `ADVICE`.
        text: one sentence, without report text or patients' names.
        facts: the numbers of the sentence, plain data.
    """

    kind: str
    text: str
    facts: Mapping[str, object] = field(default_factory=dict)
