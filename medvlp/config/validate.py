"""Validation during training: zero-shot AUROC on validation patients, by which the best checkpoint is chosen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medvlp.core.keys import keys
from medvlp.core.protocols import Model
from medvlp.data.loader import Loader
from medvlp.data.prepare import Prepared
from medvlp.evaluation.metrics import auroc
from medvlp.features.embed import embed, logit_scale
from medvlp.features.feature_pass import feature_pass
from medvlp.prediction.zero_shot import make_zero_shot
from medvlp.text.prompts import PromptSet

__all__ = ["Validator"]


class Validator:
    """Scores a model on the validation split.

    Args:
        prepared: validation records.
        prompts: of the findings; those without a label column, or with one class only, are left out.
    """

    def __init__(self, prepared: Prepared, prompts: Sequence[PromptSet]) -> None:
        self._prepared = prepared
        self._prompts = [each for each in prompts if f"label.{each.label}" in self._prepared.manifest]

    def __call__(self, model: Model, samples_seen: int) -> dict[str, float]:
        """Return ``zero_shot/auroc/LABEL`` and their mean ``zero_shot/auroc/macro``."""
        if not self._prompts:
            return {}
        loader = Loader(self._prepared, [], batch=128, seed=0, workers=0)
        table = feature_pass(model, loader.once(), keys("image/embedding"))
        shot = make_zero_shot(self._prompts, lambda texts: embed(model, "text", texts), scale=logit_scale(model))
        scores = shot.scores(table["image/embedding"])
        metrics: dict[str, float] = {}
        for i, label in enumerate(shot.labels):
            truth = np.asarray(self._prepared.manifest.column(f"label.{label}"), dtype=np.float64)
            known = np.isin(truth, (0.0, 1.0)) & np.isfinite(scores[:, i])
            if 0 < truth[known].sum() < known.sum():
                metrics[f"zero_shot/auroc/{label}"] = float(auroc(truth[known], scores[known, i]))
        if metrics:
            metrics["zero_shot/auroc/macro"] = float(np.mean(list(metrics.values())))
        return metrics
