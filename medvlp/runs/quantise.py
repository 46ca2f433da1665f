"""Towers in 8 bits for a bundle: calibrated on training pictures, and compared with torch on validation pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from medvlp.answers.asking.ask import ask_of, ask_samples
from medvlp.answers.asking.model import VisionLanguageModel, load
from medvlp.core.answers import Ask
from medvlp.core.errors import UserError
from medvlp.core.files import check_place
from medvlp.core.keys import parse_key
from medvlp.core.progress import progress
from medvlp.core.protocols import Encoder
from medvlp.core.sample import Sample
from medvlp.core.table import FeatureTable
from medvlp.core.views import View
from medvlp.data.leakage import check_split, refuse_leaks
from medvlp.data.manifest import Manifest
from medvlp.data.pool import opened_field
from medvlp.data.prepare import Prepared, prepare
from medvlp.evaluation.compare import compare_results
from medvlp.evaluation.evaluation import scored_rows
from medvlp.evaluation.predictions import numeric_columns
from medvlp.evaluation.results import Result
from medvlp.models.backends import use_backend
from medvlp.models.backends.compiled import refuse_patches
from medvlp.models.backends.int8 import Int8, picture_towers, quantised
from medvlp.models.bundle import save_bundle
from medvlp.models.pretrained_head import hash_of_tensors
from medvlp.runs.data import build_views
from medvlp.runs.slices import readable_kinds, reading_of

_EVERY = 8  # slices of a volume: calibration sees one of so many


def quantise(model: Path, manifest: Path, *, out: Path, root: Path | None, records: int, workers: int) -> Int8:
    """Write a bundle again, with its towers of pictures in 8 bits beside the weights.

    Activations are calibrated on records of the manifest's part ``train``, evenly over it and read as the bundle reads
    pictures. What is in 8 bits is then compared with torch on the part ``validate``, on the calibration records where
    there is none: cosines of the embeddings, and where there are labels and patients the AUROC of the bundle's first
    answer with scores, with the paired difference and its interval over patients.

    Args:
        model: the bundle.
        manifest: with a column ``split``.
        out: the new bundle.
        root: folder of the manifest's files; None: as it says.
        records: that calibrate, of each kind of pictures.
        workers: processes that read.

    Raises:
        ConfigError: if the model has patches.
        DataError: if there is no training part, or a patient or study is in two parts.
        UserError: if no tower of pictures reads this manifest, or ONNX Runtime is not installed.
    """
    check_place(out)
    loaded, table = load(model), Manifest.load(manifest, root=root)
    refuse_patches(loaded.model, "int8")
    refuse_leaks(check_split(table, images=False))
    views = build_views(reading_of(table, loaded.bundle.preprocessing, loaded.model), where="preprocessing")
    towers = picture_towers(loaded.model)
    seen: dict[str, list[Tensor]] = {name: [] for name in towers}
    shown: dict[str, _Shown] = {}
    for kind in readable_kinds(table, views, loaded.model):
        own = table.having(opened_field(views, kind))
        train = own.split_of("train")
        chosen = np.unique(np.linspace(0, len(train) - 1, num=min(len(train), records)).round().astype(int))
        shown[kind] = _Shown(loaded.of_kind(kind), "train", _read(train.take(chosen), views, workers))
        with _watched(towers, seen, every=1 if kind == "image" else _EVERY):
            shown[kind].asked("")
    graphs = {name: quantised(towers[name], torch.cat(pixels)) for name, pixels in seen.items() if pixels}
    if not graphs:
        raise UserError("No tower of images or slices looks at this manifest's pictures: there is none to quantise.")
    facts: dict[str, Any] = {"weights": hash_of_tensors(loaded.model), "data": table.hash}
    facts["calibrated"] = {kind: each.counted() for kind, each in shown.items()}
    judged = {kind: each.or_validation(table, views, workers) for kind, each in shown.items()}
    answers = {kind: each.answer() for kind, each in judged.items()}
    torchs = {kind: each.asked(answers[kind]) for kind, each in judged.items()}
    use_backend(loaded.model, "int8", Int8(graphs, facts))
    facts["parity"] = {
        kind: each.parity(answers[kind], torchs[kind], each.asked(answers[kind])) for kind, each in judged.items()
    }
    made = Int8(graphs, facts)
    save_bundle(out, replace(loaded.bundle, int8=made))
    return made


@dataclass(frozen=True)
class _Asked:
    """What a model makes of pictures: (N, D) features, and scores (N,) by finding."""

    features: np.ndarray
    scores: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class _Shown:
    """Pictures of one kind and of one part of the data, and the model that is shown them."""

    model: VisionLanguageModel
    part: str
    prepared: Prepared

    def or_validation(self, table: Manifest, views: Sequence[View], workers: int) -> _Shown:
        """Return the validation pictures in place of these, where there are some."""
        field = opened_field(views, self.model.model.vision_kind)
        there = table.arrow(field).is_valid().to_numpy(zero_copy_only=False) & (table.column("split") == "validate")
        if not there.any():
            return self
        return replace(self, part="validate", prepared=_read(table.take(there), views, workers))

    def counted(self) -> dict[str, int]:
        """Return how many records and patients there are; patients only where they are known."""
        manifest = self.prepared.manifest
        patients = {"patients": len(set(manifest.column("id.patient")))} if "id.patient" in manifest else {}
        return {"records": len(manifest), **patients}

    def answer(self) -> str:
        """Return the first answer with scores of findings that validation patients have labels of; empty: none."""
        manifest = self.prepared.manifest
        if self.part != "validate" or "id.patient" not in manifest:
            return ""
        return next(
            (
                name
                for name, each in self.model.answers.items()
                if "scores" in each.gives
                and ask_of(each, manifest) is not None
                and any(f"label.{label}" in manifest for label in each.labels)
            ),
            "",
        )

    def asked(self, answer: str) -> _Asked:
        """Return what the model, as it is now, makes of the pictures; no scores without an answer."""
        own, rows = self.model, []
        chosen = {answer: own.answers[answer]} if answer else {}

        def watch(group: Sequence[Sample], table: FeatureTable) -> None:
            rows.append(table[own.features])

        said = ask_samples(
            chosen,
            own.model,
            (self.prepared.sample(i) for i in range(len(self.prepared))),
            asks={name: ask_of(each, self.prepared.manifest) or Ask() for name, each in chosen.items()},
            batch=64 if own.model.vision_kind == "image" else 1,
            more=frozenset({parse_key(own.features)}),
            watch=watch,
        )
        return _Asked(np.concatenate(rows), (said[answer].scores or {}) if answer else {})

    def parity(self, answer: str, before: _Asked, after: _Asked) -> dict[str, Any]:
        """Return how far one is from the other, as the bundle keeps it."""
        one, other = (torch.from_numpy(each.features).flatten(1) for each in (before, after))
        cosines = nn.functional.cosine_similarity(one, other)
        area = _areas(answer, self.prepared.manifest, before.scores, after.scores) if answer else None
        facts = {"split": self.part, "records": len(cosines), "least": float(cosines.min())}
        return {**facts, "mean": float(cosines.mean()), **({} if area is None else {"auroc": area})}


def _areas(
    answer: str, manifest: Manifest, before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]
) -> dict[str, Any] | None:
    """Return the macro AUROC of both, or that of the only finding, and their difference; None where it is undefined."""
    tables = [numeric_columns(pd.DataFrame(scored_rows(manifest, scores))) for scores in (before, after)]
    sides = [Result(name=answer, recipe="", data=manifest.hash, metrics=(), cases=table) for table in tables]
    rows = [row for row in compare_results(*sides, split="validate").metrics if row.metric == "auroc_difference"]
    row = next((each for each in rows if each.label == "macro"), rows[0] if rows else None)
    if row is None:
        return None
    return {
        "answer": answer, "label": row.label, "findings": row.counts.labels_used or 1, "patients": row.counts.patients,
        "torch": row.test.first, "int8": row.test.second, "difference": row.value,
        "low": row.interval.low, "high": row.interval.high,
    }  # fmt: skip


def _read(manifest: Manifest, views: Sequence[View], workers: int) -> Prepared:
    with progress("Reading", unit="records") as tell:
        return prepare(manifest, views, cache=None, workers=workers, cap=1.0, progress=tell)


@contextmanager
def _watched(towers: Mapping[str, Encoder], seen: Mapping[str, list[Tensor]], *, every: int) -> Iterator[None]:
    """Keep one of so many pictures that towers are given."""

    def keeping(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda module, given: seen[name].append(given[0][::every].clone())

    hooks = [tower.register_forward_pre_hook(keeping(name)) for name, tower in towers.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
