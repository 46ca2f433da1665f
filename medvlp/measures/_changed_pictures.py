"""Scores of pictures that were changed, beside those of the same pictures as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor

from medvlp.answers.asking.ask import ask_of, ask_samples
from medvlp.core.answers import Answer, Ask
from medvlp.core.keys import Key
from medvlp.core.sample import Sample
from medvlp.core.table import FeatureTable
from medvlp.data.manifest import Manifest
from medvlp.evaluation.evaluation import Evaluation, scored_rows
from medvlp.evaluation.robustness.evaluate import Condition
from medvlp.measures._grounding_maps import evenly

BATCH = 32
LATERAL_VIEWS = frozenset({"LATERAL", "LL", "RL", "L"})  # the last as some tables say it


def scored_pictures(evaluation: Evaluation) -> tuple[str, Answer] | None:
    """Return the first answer that gives scores, by name; None without one, or without images."""
    scored = next(evaluation.giving("scores"), None)
    if scored is None or not evaluation.sees or evaluation.model.model.vision_kind != "image":
        return None
    return scored[0], scored[1]


def frontal_cases(manifest: Manifest, features: np.ndarray, most: int) -> list[int]:
    """Return at most so many rows with features (N, D), evenly; lateral views are left out."""
    positions = view_positions(manifest)
    seen = [
        int(at)
        for at in np.flatnonzero(np.isfinite(features).all(axis=1))
        if positions is None or positions[int(at)] not in LATERAL_VIEWS
    ]
    return [seen[at] for at in evenly(len(seen), most)]


def view_positions(manifest: Manifest) -> list[str] | None:
    """Return the view of each row in capitals; None where the data names none."""
    if "view_position" not in manifest:
        return None
    return [str(value).upper() for value in manifest.column("view_position")]


@dataclass(frozen=True)
class ChangedPictures:
    """Asks one answer about pictures under conditions, gate included."""

    evaluation: Evaluation
    answer: Answer

    def condition(
        self,
        factor: str,
        level: str,
        cases: Sequence[int],
        samples: Iterable[Sample],
        *,
        more: frozenset[Key] = frozenset(),
        watch: Callable[[Sequence[Sample], FeatureTable], None] = lambda group, table: None,
    ) -> Condition:
        """Score samples with an ``image``, one for each of some rows of what is measured.

        Args:
            factor: what was changed; empty: nothing.
            level: how much.
            cases: rows.
            samples: in their order.
            more: further keys to collect.
            watch: shown them, see `ask_samples`.
        """
        gate, flagged = self.evaluation.model.bundle.gate, []
        manifest = self.evaluation.judged.manifest.take(np.array(cases))

        def looked_at() -> Iterator[Sample]:
            for name, sample in zip(manifest.column("id"), samples, strict=True):
                pixels = sample.fields["image"]
                if gate is not None and isinstance(pixels, Tensor):
                    flagged.append(gate.verdict(pixels).flagged)
                yield Sample(str(name), sample.fields)

        scores = self.scores(looked_at(), ask_of(self.answer, manifest), more=more, watch=watch)
        rows = scored_rows(manifest, scores)
        rows.pop("split")
        return Condition(factor, level, pd.DataFrame(rows), np.array(flagged) if flagged else None)

    def scores(
        self,
        samples: Iterable[Sample],
        ask: Ask | None,
        *,
        more: frozenset[Key] = frozenset(),
        watch: Callable[[Sequence[Sample], FeatureTable], None] = lambda group, table: None,
    ) -> Mapping[str, np.ndarray]:
        """Return finding -> (N,) of samples with an ``image``; see `condition`."""
        asks = {} if ask is None else {"it": ask}
        found = ask_samples(
            {"it": self.answer}, self.evaluation.model.model, samples, asks=asks, batch=BATCH, more=more, watch=watch
        )
        return found["it"].scores or {}
