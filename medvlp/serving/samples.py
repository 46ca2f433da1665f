"""Three synthetic studies to click: made once, in memory, by the phantom."""

from __future__ import annotations

import tempfile
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from medvlp.phantom.sampling import sample_cohort
from medvlp.phantom.write_study import StudyJob, write_study
from medvlp.serving.studies import Study, read_study

_SEED, _PATIENTS = 7, 12


@dataclass(frozen=True)
class Sample:
    """One of them: its name for people, and which visits of the phantom's people it is, the newest first."""

    title: str
    modality: Literal["cxr", "ct"]
    studies: tuple[int, ...]
    size: int


SAMPLES = (
    Sample("Chest, two views", "cxr", (12,), 768),
    Sample("Bedside chest with a prior", "cxr", (25, 24), 768),
    Sample("CT of the chest", "ct", (12,), 384),
)


class Samples:
    """Makes each sample once, when it is asked for or ahead of it.

    Args:
        folder: where a sample is rendered before it is read; nothing stays there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[tuple[int, tuple[str, ...]], Study] = {}
        self._closed = threading.Event()
        self._ahead: threading.Thread | None = None
        self._locks = [threading.Lock() for _ in SAMPLES]

    def study(self, number: int, presets: tuple[str, ...] = ()) -> Study:
        """Return one; the first time it is rendered, which takes a second or two.

        Args:
            number: of `SAMPLES`.
            presets: by which models read pictures, see `read_study`.
        """
        with self._locks[number]:
            if (number, presets) not in self._made:
                self._made[number, presets] = _make(SAMPLES[number], self._folder, presets)
            return self._made[number, presets]

    def make_ahead(self, presets: tuple[str, ...]) -> None:
        """Prepare all samples in the background."""
        self._ahead = threading.Thread(target=self._make_ahead, args=(presets,), daemon=True)
        self._ahead.start()

    def close(self) -> None:
        """Make no further one, and wait for one that is being made."""
        self._closed.set()
        if self._ahead is not None:
            self._ahead.join()

    def _make_ahead(self, presets: tuple[str, ...]) -> None:
        for number in range(len(SAMPLES)):
            if not self._closed.is_set():
                self.study(number, presets)


def _make(sample: Sample, folder: Path, presets: tuple[str, ...]) -> Study:
    people = sample_cohort(patients=_PATIENTS, seed=_SEED, modality=sample.modality)
    with tempfile.TemporaryDirectory(dir=folder) as rendered:
        out = Path(rendered)
        documents = [
            write_study(StudyJob(out, people[n], people[n].patient.age, _SEED, sample.size, sample.modality))
            for n in sample.studies
        ]
        files = [out / image["path"] for document in documents for image in document["images"]]
        study = read_study(files, report=documents[0]["report"], presets=presets)
        return replace(study, series=tuple(replace(each, title=f"{each.title} · synthetic") for each in study.series))
