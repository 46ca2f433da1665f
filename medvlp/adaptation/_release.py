"""An adapted model as a bundle: the adapter's head stands on the model, and the findings that it learnt are asked."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from medvlp.adaptation._adapter import Adapted, Candidate, Folded
from medvlp.core.keys import Key, Plan, keys
from medvlp.models.bundle import Bundle, StoredAnswer
from medvlp.statistics.metrics import FloatArray

__all__ = ["adapted_bundle", "scaled"]

NAME = "adapted"


def scaled(folded: Folded, labels: Mapping[str, FloatArray]) -> Candidate:
    """Return the head's tensors so that its outputs are log-odds, by the scores of rows that it was not fitted on.

    A line for each finding (Platt 1999) goes into the head's last weights, so that a sigmoid of its output is a
    probability by more than its form, and none is rounded to 1.

    Args:
        folded: adapter with its scores from folds.
        labels: finding -> (N,) 1 present, 0 absent; others take no part.
    """
    from sklearn.linear_model import LogisticRegression

    tensors = dict(folded.answer.tensors)
    slope, shift = np.ones(len(folded.answer.labels)), np.zeros(len(folded.answer.labels))
    for k, name in enumerate(folded.answer.labels):
        truth, scores = np.asarray(labels[name], dtype=float), folded.scores[name]
        known = np.isin(truth, (0.0, 1.0))
        spread = float(scores[known].std()) or 1.0
        line = LogisticRegression(C=1.0).fit(scores[known, None] / spread, truth[known])
        # A score that ranks no better than chance keeps its order, and says next to nothing.
        slope[k], shift[k] = max(float(line.coef_[0, 0]), 1e-3) / spread, float(line.intercept_[0])
    tensors["output.weight"] = tensors["output.weight"] * slope[:, None]
    tensors["output.bias"] = tensors["output.bias"] * slope + shift
    if "weight" in tensors:
        tensors["weight"] = tensors["weight"] * slope
    return tensors


def adapted_bundle(
    bundle: Bundle, answer: Adapted, tensors: Candidate, *, features: str, facts: Mapping[str, object]
) -> Bundle:
    """Return a bundle whose first answer are the findings of the adapter; its older answers follow.

    What it was adapted to before, head and answer, is left out.

    Args:
        bundle: whose features were adapted; it stays as it is.
        answer: the adapter.
        tensors: of its head, scaled.
        features: key of the features.
        facts: what its provenance says of the adaptation.
    """
    model: Any = copy.deepcopy(bundle.model)
    (key,) = keys(features)
    part = Key(key.view, NAME)
    for earlier in [name for name in model.heads if name.rpartition("/")[2] == NAME]:
        model.unmount(earlier)
    above = dict(model.heads.items()).get(f"{key.view}/{'raw' if key.part == 'embedding' else key.part}")
    stage = "tower" if above is None else above.stage
    model.mount({str(part): answer.spec(key.part, stage=stage)}, Plan.of([part]))
    own = {name: torch.from_numpy(np.asarray(value)).float() for name, value in tensors.items()}
    model.heads[str(part)].load_state_dict(own)
    findings = StoredAnswer(
        name=NAME,
        component="findings",
        options={"labels": list(answer.labels), "part": NAME, "exclusive": False},
        labels=list(answer.labels),
    )
    others = [each for each in bundle.answers if each.name != NAME]
    return replace(
        bundle,
        model=model.eval(),
        answers=(findings, *others),
        provenance={**bundle.provenance, "adapted": dict(facts)},
        sentences=None,
        hash="",
    )
