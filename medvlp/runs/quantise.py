"""Towers in 8 bits for a bundle: calibrated on training pictures, and compared with torch on validation pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from medvlp.answers.asking.ask import answered, ask_of, needs_of
from medvlp.answers.asking.model import VisionLanguageModel, load
from medvlp.core.answers import Answer, Ask
from medvlp.core.errors import UserError
from medvlp.core.files import check_replaced
from medvlp.core.keys import keys
from medvlp.core.progress import progress
from medvlp.core.protocols import Encoder
from medvlp.core.table import FeatureTable
from medvlp.core.views import View
from medvlp.data.leakage import check_split, refuse_leaks
from medvlp.data.loader import in_order
from medvlp.data.manifest import Manifest
from medvlp.data.pool import opened_field
from medvlp.data.prepare import Prepared, prepare
from medvlp.evaluation.compare import compare_results
from medvlp.evaluation.evaluation import scored_rows
from medvlp.evaluation.predictions import numeric_columns
from medvlp.evaluation.results import Result
from medvlp.features.feature_pass import feature_pass
from medvlp.models.backends.compiled import refuse_patches, use_backend
from medvlp.models.backends.int8 import Int8, quantised
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
        records: that calibrate.
        workers: processes that read.

    Raises:
        ConfigError: if the model has patches.
        DataError: if there is no training part, or a patient or study is in two parts.
        UserError: if the model has no tower of images or slices that looks at the manifest's pictures, or is one of
            films and volumes, or if ONNX Runtime is not installed.
    """
    check_replaced(out, mark="MANIFEST.sha256", inputs=[model, manifest])
    loaded, table = load(model), Manifest.load(manifest, root=root)
    refuse_patches(loaded.model, "int8")
    refuse_leaks(check_split(table, images=False))
    views = build_views(reading_of(table, loaded.bundle.preprocessing, loaded.model), where="preprocessing")
    if not readable_kinds(table, views, loaded.model) or len(loaded.model.kinds) > 1:
        raise UserError("Towers in 8 bits are made of a model of one kind of pictures, on a manifest that names such.")
    table = table.having(opened_field(views, loaded.model.vision_kind))
    train = table.split_of("train")
    chosen = np.unique(np.linspace(0, len(train) - 1, num=min(len(train), records)).round().astype(int))
    shown = _read(train.take(chosen), views, workers)
    modules = loaded.model.named_modules()
    towers = {name: each for name, each in modules if isinstance(each, Encoder) and "image" in each.kinds}
    with _watched(towers, every=_EVERY if loaded.model.vision_kind == "stack" else 1) as seen:
        feature_pass(loaded.model, in_order(shown), keys(loaded.features))
    graphs = {name: quantised(towers[name], torch.cat(pixels)) for name, pixels in seen.items() if pixels}
    if not graphs:
        raise UserError("No tower of images or slices of this model looked at a picture: there is none to quantise.")
    facts: dict[str, Any] = {"weights": hash_of_tensors(loaded.model.state_dict())}
    facts["calibrated"] = {"records": len(shown), "data": table.hash}
    answer, part = None, "train"
    if "validate" in table.column("split").tolist():
        shown, part = _read(table.split_of("validate"), views, workers), "validate"
        answer = _judged_answer(loaded, shown.manifest)
    needs = keys(loaded.features) | needs_of([] if answer is None else [answer], loaded.model)
    before = feature_pass(loaded.model, in_order(shown), needs)
    use_backend(loaded.model, "int8", Int8(graphs, facts))
    after = feature_pass(loaded.model, in_order(shown), needs)
    one, other = (torch.from_numpy(table[loaded.features]).flatten(1) for table in (before, after))
    cosines = nn.functional.cosine_similarity(one, other)
    parity = {"least": cosines.min().item(), "mean": cosines.mean().item()}
    facts["parity"] = {"split": part, "records": len(shown), **parity}
    if answer is not None:
        facts["auroc"] = _areas(answer, shown.manifest, loaded, before, after)
    save_bundle(out, replace(loaded.bundle, int8=Int8(graphs, facts)))
    return Int8(graphs, facts)


def _judged_answer(model: VisionLanguageModel, manifest: Manifest) -> Answer | None:
    """Return the first answer with scores of findings that patients have labels of."""
    for each in model.answers.values() if "id.patient" in manifest else ():
        labelled = any(f"label.{label}" in manifest for label in each.labels)
        if labelled and "scores" in each.gives and each.asks == "nothing" and not each.streams:
            return each
    return None


def _areas(
    answer: Answer, manifest: Manifest, model: VisionLanguageModel, before: FeatureTable, after: FeatureTable
) -> dict[str, Any] | None:
    """Return the macro AUROC of both, or that of the only finding, and their difference; None where it is undefined."""
    sides = []
    for table in (before, after):
        scores = answered(answer, model.model, table, ask_of(answer, manifest) or Ask()).scores or {}
        cases = numeric_columns(pd.DataFrame(scored_rows(manifest, scores)))
        sides.append(Result(name="parity", data=manifest.hash, metrics=(), cases=cases))
    rows = [row for row in compare_results(*sides, split="validate").metrics if row.metric == "auroc_difference"]
    row = next((each for each in rows if each.label == "macro"), rows[0] if rows else None)
    if row is None:
        return None
    facts = {"label": row.label, "patients": row.counts.patients, "torch": row.test.first, "int8": row.test.second}
    return {**facts, "difference": row.value, "low": row.interval.low, "high": row.interval.high}


def _read(manifest: Manifest, views: Sequence[View], workers: int) -> Prepared:
    with progress("Reading", unit="records") as tell:
        return prepare(manifest, views, cache=None, workers=workers, cap=1.0, progress=tell)


@contextmanager
def _watched(towers: Mapping[str, Encoder], *, every: int) -> Iterator[dict[str, list[Tensor]]]:
    """Keep one of so many pictures that each tower is given."""
    seen: dict[str, list[Tensor]] = {name: [] for name in towers}
    hooks = [
        tower.register_forward_pre_hook(lambda _, given, rows=seen[name]: rows.append(given[0][::every].clone()))
        for name, tower in towers.items()
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
