"""Validation during training: every answer that the recipe teaches, by every measure that reads what it says."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from medvlp.answers.asking.ask import answered, ask_of, ask_samples, needs_of
from medvlp.core.answers import Answer
from medvlp.core.protocols import Model
from medvlp.data.loader import in_order
from medvlp.data.prepare import Prepared
from medvlp.features.feature_pass import feature_pass
from medvlp.measures._points import Options, point_values


class Validator:
    """Asks a model about the validation split, or about `Answer.most_pairs` records drawn of it, where that is fewer.

    Args:
        prepared: validation records.
        answers: of the model, by name.
        measures: options of measures by name, those of the final evaluation.
    """

    def __init__(self, prepared: Prepared, answers: Mapping[str, Answer], *, measures: Options) -> None:
        self._prepared = prepared
        self._answers = answers
        self._measures = measures

    def __call__(self, model: Model, samples_seen: int) -> dict[str, float]:
        """Return ``ANSWER/METRIC[/LABEL]``; what the data or the model lacks is left out."""
        manifest = self._prepared.manifest
        there, found = {*manifest.names, model.vision_kind}, dict[str, float]()
        chosen = [
            (name, answer, ask)
            for name, answer in (self._answers.items() if manifest.file_columns else ())
            if (ask := ask_of(answer, manifest)) is not None and {key.view for key in answer.needs(model)} <= there
        ]
        needs = needs_of([answer for _, answer, _ in chosen], model)
        table = feature_pass(model, in_order(self._prepared), needs) if needs else None
        for name, answer, ask in chosen:
            cohort = manifest
            if table is not None and not answer.streams:
                some = table
                if answer.most_pairs is not None and len(table) > answer.most_pairs:
                    drawn = np.sort(np.random.default_rng(0).permutation(len(table))[: answer.most_pairs])
                    some, cohort = table.rows(drawn), manifest.take(drawn)
                predictions = answered(answer, model, some, ask)
            else:
                rows = (self._prepared.sample(index) for index in range(len(self._prepared)))
                predictions = ask_samples({name: answer}, model, rows, asks={name: ask})[name]
            found |= point_values(name, answer, predictions, cohort, options=self._measures)
        return found
