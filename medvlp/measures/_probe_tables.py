"""Features and labels of the splits, as probes want them: of the model, and of thumbnails."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medvlp.config.gallery import picture_of
from medvlp.config.judge import Judge
from medvlp.data.manifest import Manifest
from medvlp.data.prepare import Prepared
from medvlp.evaluation.probe import ProbeData, thumbnails

__all__ = ["ProbeTables", "can_probe", "deep_tables", "labels_of", "thumbnail_tables"]


@dataclass(frozen=True)
class ProbeTables:
    """What is fitted on, what is chosen on, and what is judged."""

    train: ProbeData
    validation: ProbeData
    judged: np.ndarray


def can_probe(judge: Judge) -> bool:
    """Whether there are pictures, labels, patients, and two other splits: to train and to choose on."""
    apart = {"train", "validate"} <= judge.splits - {judge.options.split}
    return bool(judge.labels and judge.sees and judge.knows_patients and apart)


def deep_tables(judge: Judge) -> ProbeTables:
    """Return the model's embeddings."""
    return _tables(judge, {split: judge.part(split)[1][judge.seen] for split in _splits(judge)})


def thumbnail_tables(judge: Judge) -> ProbeTables:
    """Return 16 x 16 thumbnails of the same pictures."""
    return _tables(judge, {split: _thumbnails(judge.part(split)[0]) for split in _splits(judge)})


def labels_of(judge: Judge, manifest: Manifest) -> np.ndarray:
    """Return the labels of the judge's findings, ``(N, L)``."""
    return np.stack([np.asarray(manifest.column(f"label.{name}"), dtype=float) for name in judge.labels], axis=1)


def _splits(judge: Judge) -> tuple[str, str, str]:
    return "train", "validate", judge.options.split


def _tables(judge: Judge, features: dict[str, np.ndarray]) -> ProbeTables:
    manifests = {split: judge.part(split)[0].manifest for split in ("train", "validate")}
    data = {
        split: ProbeData(features[split], labels_of(judge, manifest), manifest.column("id.patient").tolist())
        for split, manifest in manifests.items()
    }
    return ProbeTables(data["train"], data["validate"], features[judge.options.split])


def _thumbnails(prepared: Prepared) -> np.ndarray:
    shown = (prepared.sample(index) for index in range(len(prepared)))
    return np.concatenate([thumbnails(np.asarray(picture_of(sample))[None]) for sample in shown])
