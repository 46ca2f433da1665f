"""Validation during training: zero-shot AUROC and retrieval on validation patients; one of them chooses the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medvlp.core.keys import keys
from medvlp.core.protocols import Model
from medvlp.core.table import FeatureTable
from medvlp.data.loader import in_order
from medvlp.data.prepare import Prepared
from medvlp.evaluation.metrics import auroc
from medvlp.evaluation.ranks import rank_queries
from medvlp.features.embed import embed, logit_scale
from medvlp.features.feature_pass import feature_pass
from medvlp.answers.dual_stream.findings import existence_scores, mounted_streams
from medvlp.answers.prompting.class_vectors import make_zero_shot
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
        """Return ``zero_shot/auroc/LABEL``, their mean ``zero_shot/auroc/macro``, and ``retrieval/recall@5``.

        Of a model with a dual-stream head also ``existence/auroc/LABEL`` and their mean. What the data or the model
        lacks is left out: AUROC needs labels, retrieval images and words, and zero-shot a model that reads words.
        """
        manifest = self._prepared.manifest
        prompted = bool(self._prompts) and model.reads_text
        paired = bool(manifest.pictures) and "text" in manifest and model.reads_text
        streams = mounted_streams(model) if manifest.pictures else None
        seen = f"{model.pictures}/embedding"
        needs = [seen] if prompted or paired else []
        needs += ["text/embedding", "text"] if paired else []
        needs += [streams.key("pathology")] if streams is not None else []
        if not needs:
            return {}
        table = feature_pass(model, in_order(self._prepared), keys(*needs))
        scored = self._zero_shot(model, table[seen]) if prompted else {}
        if streams is not None:
            scored |= self._aurocs("existence", existence_scores(table, streams))
        return scored | (_retrieval(table, table[seen]) if paired else {})

    def _zero_shot(self, model: Model, pictures: np.ndarray) -> dict[str, float]:
        shot = make_zero_shot(self._prompts, lambda texts: embed(model, "text", texts), scale=logit_scale(model))
        return self._aurocs("zero_shot", shot.by_label(pictures))

    def _aurocs(self, recipe: str, scores: Mapping[str, np.ndarray]) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for label, values in scores.items():
            if f"label.{label}" not in self._prepared.manifest:
                continue
            truth = np.asarray(self._prepared.manifest.column(f"label.{label}"), dtype=np.float64)
            known = np.isin(truth, (0.0, 1.0)) & np.isfinite(values)
            if 0 < truth[known].sum() < known.sum():
                metrics[f"{recipe}/auroc/{label}"] = float(auroc(truth[known], values[known]))
        if metrics:
            metrics[f"{recipe}/auroc/macro"] = float(np.mean(list(metrics.values())))
        return metrics


def _retrieval(table: FeatureTable, pictures: np.ndarray, k: int = 5) -> dict[str, float]:
    """Mean over both directions of recall at k; records with the same words are one another's answers."""
    texts = table["text/embedding"]
    there = np.isfinite(pictures).all(1) & np.isfinite(texts).all(1)
    words = [" ".join(str(text).lower().split()) for text in np.asarray(table.columns["text"], dtype=object)[there]]
    group = np.unique(words, return_inverse=True)[1]
    if len(set(words)) < 2:
        return {}
    similarity = pictures[there] @ texts[there].T
    recalls = [rank_queries(each, group, group).recall(k).mean() for each in (similarity, similarity.T)]
    return {f"retrieval/recall@{k}": float(np.mean(recalls))}
