"""Thresholds, calibrations and conformal rules that a bundle keeps: chosen on validation pictures, for one recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medvlp.config.judge import scored_rows
from medvlp.core.keys import keys
from medvlp.data.loader import in_order
from medvlp.data.prepare import Prepared
from medvlp.evaluation.predictions import checked_findings, numeric_columns
from medvlp.evaluation.scoring.fitted import fit_finding
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.evaluation.scoring.split import split_data
from medvlp.features.feature_pass import feature_pass
from medvlp.models.bundle import Bundle, load_bundle, save_bundle
from medvlp.answers.dual_stream.findings import existence_scores, mounted_streams
from medvlp.answers.asking.model import VisionLanguageModel, prompt_sets

__all__ = ["fitted_bundle", "keep_fitted"]

# Of fewer cases of a class a threshold or a calibration is mostly noise: the bundle keeps none of that finding.
_LEAST = 10


def fitted_bundle(bundle: Bundle, prepared: Prepared, *, data: str, calibration: str) -> Bundle:
    """Return a bundle with what is chosen on prepared validation pictures, for the scores that `predict` gives.

    Args:
        bundle: a released model.
        prepared: validation pictures with labels; without any, the bundle is returned as it is.
        data: hash of the data.
        calibration: map that is kept.
    """
    if bundle.score != "dot" or "id.patient" not in prepared.manifest or not prepared.manifest.pictures:
        return bundle
    model = VisionLanguageModel(bundle, device=str(next(bundle.model.parameters()).device))
    seen, streams = f"{model.model.pictures}/embedding", mounted_streams(model.model)
    recipe = "zero_shot" if bundle.zero_shot else "existence"
    known = [p.label for p in prompt_sets(bundle)] if bundle.zero_shot else list(bundle.labels)
    if not any(f"label.{label}" in prepared.manifest for label in known):
        return bundle
    if bundle.zero_shot:
        table = feature_pass(model.model, in_order(prepared), keys(seen))
        scores: Mapping[str, np.ndarray] = model.zero_shot.by_label(table[seen])
    elif streams is not None:
        table = feature_pass(model.model, in_order(prepared), keys(streams.key("pathology")))
        scores = existence_scores(table, streams)
    else:
        return bundle
    rows = numeric_columns(pd.DataFrame(scored_rows(prepared.manifest, scores)))
    held_out = split_data(rows, checked_findings(rows), name="validate", options=ScoreOptions())
    fitted = {finding.name: fit_finding(finding, held_out.options).to_dict() for finding in held_out.findings}
    return kept(bundle, fitted, recipe, data, calibration)


def keep_fitted(folder: Path, fitted: Mapping[str, Any], *, recipe: str, data: str, calibration: str) -> None:
    """Write what an evaluation chose into a bundle; the folder is replaced whole."""
    save_bundle(folder, kept(load_bundle(folder), fitted, recipe, data, calibration))


def kept(bundle: Bundle, fitted: Mapping[str, Any], recipe: str, data: str, calibration: str) -> Bundle:
    """Return a bundle that holds `Result.fitted` of findings with at least ten cases of each class."""
    enough = {
        name: each
        for name, each in fitted.items()
        if "reason" not in each and min(_counts(each["calibration"][calibration])) >= _LEAST
    }
    if not enough:
        return bundle
    source = {"recipe": recipe, "data": data}
    points = {name: each["operating_points"] for name, each in enough.items()}
    sets = {name: each["conformal"] for name, each in enough.items() if each["conformal"] is not None}
    maps = {name: each["calibration"][calibration] for name, each in enough.items()}
    return replace(
        bundle,
        operating_points={**source, "findings": points, "conformal": sets},
        calibration={**source, "map": calibration, "findings": maps},
    )


def _counts(calibrator: Mapping[str, Any]) -> tuple[int, int]:
    return int(calibrator["positives"]), int(calibrator["n"]) - int(calibrator["positives"])
