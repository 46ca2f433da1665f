"""One factor changed: exposure, pose, devices, image quality, polarity, or a lateral picture shown as a frontal one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medvlp.config.build import open_manifest
from medvlp.config.judge import Judge, scored_rows
from medvlp.core.errors import UserError
from medvlp.core.keys import keys
from medvlp.core.sample import Sample
from medvlp.data.collate import collate
from medvlp.data.manifest import Manifest
from medvlp.evaluation.results import Result
from medvlp.evaluation.robustness.evaluate import Condition, evaluate_robustness
from medvlp.evaluation.robustness.factors import FACTORS, LATERAL, change, chosen_factors
from medvlp.features.feature_pass import feature_pass

__all__ = ["robustness"]

_LATERAL_VIEWS = frozenset({"LATERAL", "LL", "RL", "L"})  # the last as some tables say it
_BATCH = 32


def robustness(judge: Judge) -> Iterator[Result]:
    """Yield the fall of AUROC by factor and level, and how many such pictures the bundle's gate flags."""
    options = judge.options.robustness
    scored = bool(judge.prompts) or judge.streams is not None
    if not options.cases or not scored or not judge.sees or judge.model.model.pictures != "image":
        return
    asked = chosen_factors(options.factors)
    positions = _positions(judge.prepared.manifest)
    seen = [
        int(at)
        for at in np.flatnonzero(np.isfinite(judge.table[judge.seen]).all(axis=1))
        if positions is None or positions[int(at)] not in _LATERAL_VIEWS
    ]
    cases = [seen[at] for at in np.linspace(0, len(seen) - 1, num=min(options.cases, len(seen))).round().astype(int)]
    if not cases:
        return
    clean = _condition(judge, "", "", cases, None)
    changed = [
        _condition(judge, name, f"{level:g}", cases, level)
        for name in asked
        if name in FACTORS
        for level in FACTORS[name].levels
    ]
    if LATERAL in asked:
        changed += _lateral(judge, cases)
    if changed:
        yield evaluate_robustness(
            clean,
            changed,
            seed=judge.seed,
            resamples=judge.options.resamples,
            min_positives=options.min_positives,
            **judge.facts,
        )


def _condition(judge: Judge, factor: str, level: str, cases: Sequence[int], amount: float | None) -> Condition:
    """Score the cases, each changed by the factor and read again through the model's own preprocessing."""

    def pictures() -> Iterator[Tensor]:
        for at in cases:
            sample = judge.prepared.sample(at)
            pixels = sample.fields["image"]
            if not isinstance(pixels, Tensor):
                raise UserError(f"{sample.id!r} has no pixels to change: leave robustness out.")
            if amount is None:
                yield pixels
            else:
                grey = change(pixels.mean(0).numpy(), factor, amount, name=sample.id, seed=judge.seed)
                yield _pixels(judge, grey)

    return _scored(judge, factor, level, judge.prepared.manifest.take(np.array(cases)), pictures())


def _lateral(judge: Judge, cases: Sequence[int]) -> list[Condition]:
    """Score the lateral picture of a case's study in its place, where there is one."""
    where = {column: values for column, values in judge.data.where.items() if column != "view_position"}
    # Nothing is trained or judged on these records but what is already in the cases' studies.
    others = open_manifest(
        judge.data.model_copy(update={"where": where, "allow_leaks": True, "near_images": False}),
    )
    positions = _positions(others)
    if positions is None or "id.study" not in others:
        judge.say("The data names no views or studies: a lateral picture shown as a frontal one is left out.")
        return []
    studies = others.column("id.study").tolist()
    lateral = {study: at for at, study in enumerate(studies) if positions[at] in _LATERAL_VIEWS}
    own = judge.prepared.manifest.column("id.study").tolist()
    pairs = [(at, lateral[own[at]]) for at in cases if own[at] in lateral]
    if not pairs:
        judge.say("No case has a lateral picture in its study: a lateral shown as a frontal is left out.")
        return []
    pictures = (_pixels(judge, str(others.path(other))) for _, other in pairs)
    return [_scored(judge, LATERAL, "1", judge.prepared.manifest.take(np.array([at for at, _ in pairs])), pictures)]


def _pixels(judge: Judge, picture: str | np.ndarray) -> Tensor:
    prepared = judge.model.prepare(picture).pixels
    if not isinstance(prepared, Tensor):
        raise UserError("This bundle's preprocessing makes no picture of a file: leave robustness out.")
    return prepared


def _scored(judge: Judge, factor: str, level: str, manifest: Manifest, pictures: Iterator[Tensor]) -> Condition:
    names = [str(each) for each in manifest.column("id")]
    flagged: list[bool] = []

    def batches() -> Iterator:
        for start in range(0, len(names), _BATCH):
            some = [Sample(name, {"image": next(pictures)}) for name in names[start : start + _BATCH]]
            if judge.model.bundle.gate is not None:
                flagged.extend(judge.model.bundle.gate.judge(sample.fields["image"]).flagged for sample in some)  # pyrefly: ignore
            yield collate(some, torch.arange(len(some)))

    needs = [judge.seen]
    if judge.streams is not None:
        needs.append(judge.streams.key("pathology"))
    table = feature_pass(judge.model.model, batches(), keys(*needs))
    scores = judge.zero_shot_scores(table) if judge.prompts else judge.existence_scores(table)
    rows = scored_rows(manifest, scores)
    rows.pop("split")
    return Condition(factor, level, pd.DataFrame(rows), np.array(flagged) if flagged else None)


def _positions(manifest: Manifest) -> list[str] | None:
    if "view_position" not in manifest:
        return None
    return [str(value).upper() for value in manifest.column("view_position")]
