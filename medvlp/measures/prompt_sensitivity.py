"""How much the choice of one prompt moves a finding's AUROC."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from medvlp.answers.prompting.recipe_scores import single_prompt_scores
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.probe_tables import truth_of
from medvlp.evaluation.results import ConfidenceInterval, Counts, Metric, Result
from medvlp.statistics.metrics import FloatArray, UndefinedMetricError, auroc

_SPREAD = ("auroc_lowest", "auroc_median", "auroc_range", "oracle_auroc_highest")


class PromptSensitivity(Measure):
    """The AUROC of each positive prompt alone and its spread, of the first prompted answer that compares embeddings.

    Example:
        >>> PromptSensitivity.usual
        True
    """

    order: ClassVar[int] = 34

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield the AUROC of single prompts."""
        if not evaluation.prompts or not evaluation.compares:
            return
        (manifest, images), model = evaluation.seen_rows(), evaluation.model
        scores = single_prompt_scores(images, evaluation.prompts, model.embed_text, scale=model.scale)
        labels = {p.label: np.asarray(manifest.column(f"label.{p.label}"), dtype=float) for p in evaluation.prompts}
        patients = manifest.column("id.patient").tolist()
        yield evaluate_prompt_sensitivity(scores, labels, patients, split=evaluation.options.split)


def evaluate_prompt_sensitivity(
    scores: Mapping[str, Mapping[str, FloatArray]],
    labels: Mapping[str, ArrayLike],
    patients: Sequence[str],
    *,
    split: str = "",
) -> Result:
    """Return how the AUROC of a finding varies over its prompts; the per-case table holds every prompt's.

    ``auroc_lowest``, ``auroc_median`` and ``auroc_range``, and ``oracle_auroc_highest``: the best single prompt is
    chosen by the labels it is measured on. They have no intervals: the prompts are no sample of anything.

    Args:
        scores: label -> prompt -> (N,), as `medvlp.answers.prompting.recipe_scores.single_prompt_scores` gives.
        labels: label -> (N,) 1, 0; -1 and NaN are left out.
        patients: (N,).
        split: written into the rows.

    Raises:
        DataError: if a finding has no labels, or lengths disagree.

    Example:
        >>> prompts = {"a": {"one": np.array([0.1, 0.9]), "two": np.array([0.9, 0.1])}}
        >>> found = evaluate_prompt_sensitivity(prompts, {"a": [0, 1]}, ["p", "q"])
        >>> found.find("auroc_range", "a").value, found.cases["auroc"].tolist()
        (1.0, [1.0, 0.0])
    """
    people = np.asarray(patients).astype(str)
    rows: list[Metric] = []
    cases = []
    for label, prompts in scores.items():
        truth = truth_of(label, labels, map(len, (people, *prompts.values())))
        known = np.isin(truth, (0, 1))
        values: list[float] = []
        reason = None
        for prompt, score in prompts.items():
            try:
                values.append(auroc(truth[known] == 1, score[known]))
            except UndefinedMetricError as error:
                reason = error.reason
            cases.append((label, prompt, values[-1] if reason is None else None))
        spread: dict[str, float | None] = dict.fromkeys(_SPREAD)
        if values:
            low, high = min(values), max(values)
            spread = dict(zip(_SPREAD, (low, float(np.median(values)), high - low, high), strict=True))
        rows += [
            Metric(
                metric=metric,
                label=label,
                value=value,
                split=split,
                reason=reason,
                counts=Counts(
                    n=int(known.sum()), positives=int((truth[known] == 1).sum()), patients=len(np.unique(people[known]))
                ),
                interval=ConfidenceInterval(method="none", form="none"),
            )
            for metric, value in spread.items()
        ]
    return Result(
        name="prompt_sensitivity",
        metrics=tuple(rows),
        cases=pd.DataFrame(cases, columns=["label", "prompt", "auroc"]),
        title="Single prompts, spread of AUROC",
    )
