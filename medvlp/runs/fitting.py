"""Thresholds, calibrations and conformal rules that a bundle keeps: chosen on validation pictures, for each answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from medvlp.answers.asking.ask import ask_of, ask_samples
from medvlp.answers.asking.model import VisionLanguageModel
from medvlp.data.leakage import near_is_quick, seen_of
from medvlp.data.manifest import Manifest
from medvlp.data.prepare import Prepared
from medvlp.evaluation.evaluation import scored_rows
from medvlp.evaluation.evidence import evidence_of, measured_of, sentence_evidence
from medvlp.evaluation.grounding.gain import map_evidence
from medvlp.evaluation.predictions import checked_findings, numeric_columns
from medvlp.evaluation.results import Result
from medvlp.evaluation.scoring.fitted import fit_finding
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.evaluation.scoring.split import split_data
from medvlp.models.bundle import Bundle, load_bundle, save_bundle
from medvlp.statistics.few import LEAST_PATIENTS
from medvlp.statistics.operating_points import DEFAULT_RULES

logger = logging.getLogger(__name__)

# Of fewer cases of a class, or `LEAST_PATIENTS`, a threshold or a calibration is mostly noise: the bundle keeps none.
_LEAST = 10


def fitted_bundle(
    bundle: Bundle, prepared: Prepared, *, data: str, calibration: str, points: Sequence[str] = ()
) -> Bundle:
    """Return a bundle with what is chosen on prepared validation pictures, for the scores that `predict` gives.

    Args:
        bundle: a released model.
        prepared: validation pictures with labels; without any, the bundle is returned as it is.
        data: hash of the data.
        calibration: map that is stored.
        points: further rules of thresholds beside the usual ones.
    """
    manifest = prepared.manifest
    if "id.patient" not in manifest or not manifest.file_columns:
        return bundle
    model = VisionLanguageModel(bundle, device=str(next(bundle.model.parameters()).device))
    asks = {name: ask_of(answer, manifest) for name, answer in model.answers.items()}
    chosen = {
        name: answer
        for name, answer in model.answers.items()
        if "scores" in answer.gives
        and asks[name] is not None
        and any(f"label.{label}" in manifest for label in answer.labels)
    }
    if not chosen:
        return bundle
    rows = (prepared.sample(index) for index in range(len(prepared)))
    answered = ask_samples(chosen, model.model, rows, asks={name: ask for name, ask in asks.items() if ask is not None})
    options = ScoreOptions(points=tuple(dict.fromkeys((*DEFAULT_RULES, *points))))
    for name, each in answered.items():
        table = numeric_columns(pd.DataFrame(scored_rows(manifest, each.scores or {})))
        held_out = split_data(table, checked_findings(table), name="validate", options=options)
        fitted = {finding.name: fit_finding(finding, held_out.options).to_dict() for finding in held_out.findings}
        bundle = _with_fitted(bundle, name, fitted, data, calibration)
    return bundle


def store_fitted(
    folder: Path, found: Mapping[str, Result], *, calibration: str, chosen_on: Manifest | None = None
) -> None:
    """Write into a bundle what an evaluation chose for its answers, and how good it found them and their maps.

    The folder is replaced whole. Findings that are not judged keep what an earlier evaluation chose and found.

    Args:
        folder: of the bundle.
        found: results by name: of answers, and of maps.
        calibration: map that is stored.
        chosen_on: records whose hashes are added to those of validation, where the bundle has such.
    """
    bundle = load_bundle(folder)
    for answer in bundle.answers:
        result = found.get(answer.name)
        if result is None:
            continue
        if result.fitted:
            bundle = _with_fitted(bundle, answer.name, result.fitted, result.data, calibration)
        points = next(each.operating_points for each in bundle.answers if each.name == answer.name) or {}
        if evidence := evidence_of(result, points.get("findings", {})):
            bundle = _changed(bundle, answer.name, evidence={**(answer.evidence or {}), **evidence})
        elif measured := measured_of(found, answer.name):
            bundle = _changed(bundle, answer.name, measured=measured)
    for name, maps in map_evidence(list(found.values())).items():
        bundle = _changed(bundle, name, maps=maps)
    sentences = sentence_evidence(found.values())
    bundle = bundle if sentences is None else replace(bundle, sentences=sentences)
    if chosen_on is not None and bundle.seen is not None:
        near = bundle.seen.hasher is not None and near_is_quick(chosen_on)
        bundle = replace(bundle, seen=seen_of({"validate": chosen_on}, salt="", near=near, base=bundle.seen))
    save_bundle(folder, bundle)


def _with_fitted(bundle: Bundle, answer: str, fitted: Mapping[str, Any], data: str, calibration: str) -> Bundle:
    """Return a bundle whose answer holds `Result.fitted` of findings with ten cases of five patients a class."""
    known = {name: each["calibration"][calibration] for name, each in fitted.items() if "reason" not in each}
    least = {name: min(each["positives"], each["n"] - each["positives"]) for name, each in known.items()}
    enough = {
        name: fitted[name]
        for name, cases in least.items()
        if cases >= _LEAST and fitted[name]["patients"] >= LEAST_PATIENTS
    }
    if few := ", ".join(name for name in fitted if name not in enough):
        why = f"fewer than {_LEAST} validation cases of {LEAST_PATIENTS} patients with or without it"
        logger.info(f"{answer}: no threshold or calibration goes into the bundle for {few}: {why}.")
    before = next(each for each in bundle.answers if each.name == answer)
    old = {**(before.operating_points or {}), "maps": (before.calibration or {}).get("findings", {})}
    parts = [old.get(part, {}) for part in ("findings", "conformal", "maps")]
    points, sets, maps = ({name: each for name, each in part.items() if name not in fitted} for part in parts)
    points |= {name: each["operating_points"] for name, each in enough.items()}
    sets |= {name: each["conformal"] for name, each in enough.items() if each["conformal"] is not None}
    maps |= {name: known[name] for name in enough}
    if not enough and not maps:  # what was chosen on other cases says nothing of findings that are judged anew
        return _changed(bundle, answer, operating_points=None, calibration=None)
    return _changed(
        bundle,
        answer,
        operating_points={"data": data, "findings": points, "conformal": sets},
        calibration={"data": data, "map": calibration, "findings": maps},
    )


def _changed(bundle: Bundle, answer: str, **parts: Any) -> Bundle:  # noqa: ANN401
    return replace(
        bundle, answers=tuple(replace(each, **parts) if each.name == answer else each for each in bundle.answers)
    )
