"""What the bundle's gate would hold back of the pictures that are judged, and the scores of those that it lets in."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from torch import Tensor

from medvlp.evaluation.classification import evaluate_scores
from medvlp.evaluation.evaluation import Evaluation, scored_rows, title_of
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.metric_row import share_row
from medvlp.evaluation.results import Counts, Metric, Result
from medvlp.statistics.bootstrap import patient_clusters
from medvlp.statistics.proportions import share_of

logger = logging.getLogger(__name__)

_COLUMN = "gate"
LET_IN, HELD_BACK = "let in", "held back"


class Gate(Measure):
    """A result ``gate_ANSWER`` for each answer that gives scores, of a bundle of images that has a gate.

    ``gate_held_back`` is the share of pictures that `medvlp predict` would not score, with Wilson's interval; ``auroc``
    and ``average_precision`` of the groups ``gate=let in`` and ``gate=held back`` are what a result over all pictures
    mixes. Where more are held back than the gate was made to hold back of its own kind, a caveat says so.

    Example:
        >>> Gate().order
        11
    """

    order: ClassVar[int] = 11

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield one result an answer; nothing without a gate or pictures to look at."""
        gate = evaluation.model.bundle.gate
        if gate is None or evaluation.model.model.vision_kind != "image":
            return
        if not (evaluation.shows and evaluation.knows_patients):
            return
        held = np.full(len(evaluation.judged.manifest), np.nan)  # 1 where the gate flags a picture, NaN without one
        for index in range(len(held)):
            pixels = evaluation.judged.prepared.sample(index).fields.get("image")
            if isinstance(pixels, Tensor):
                held[index] = gate.verdict(pixels).flagged
        looked = ~np.isnan(held)
        if not looked.any():
            return
        row = _share(evaluation, held[looked], looked)
        note = f"The gate would hold back {int(held[looked].sum())} of {row.counts.n} pictures"
        logger.info(f"{note}: unlike those that the model was trained on.")
        odd = row.interval.low is not None and row.interval.low > gate.rate
        caveats = (f"{note}, {100 * gate.rate:g}% of its own kind by design: {_MIND}",) if odd else ()
        for name, answer, said in evaluation.giving("scores"):
            table = pd.DataFrame(scored_rows(evaluation.judged.manifest, said.scores or {}))
            if not any(str(column).startswith("label:") for column in table):
                continue
            table[f"group:{_COLUMN}"] = np.where(held == 1, HELD_BACK, LET_IN)
            table.loc[~looked, f"group:{_COLUMN}"] = None
            shared: dict[str, Any] = {"min_positives": evaluation.options.min_positives, **evaluation.drawn}
            shared |= {"name": f"gate_{name}", "title": title_of(name, answer)}
            result = evaluate_scores(table, **shared)
            grouped = tuple(each for each in result.metrics if each.group is not None)
            yield replace(result, metrics=(row, *grouped), caveats=caveats)


_MIND = "the model would not score them, and the numbers below are over all. Those of the pictures let in stand beside."


def _share(evaluation: Evaluation, held: np.ndarray, looked: np.ndarray) -> Metric:
    patients = patient_clusters(np.asarray(evaluation.judged.manifest.column("id.patient"))[looked].astype(str))
    row = Metric(
        metric="gate_held_back",
        label="all",
        value=None,
        split=evaluation.options.split,
        policy="none",
        counts=Counts(n=0, positives=int(held.sum()), patients=0),
    )
    return share_row(row, share_of(held, patients.patient))
