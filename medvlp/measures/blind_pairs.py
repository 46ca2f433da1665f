"""Pairs of pictures that a model sees alike and a self-supervised one apart, each with two statements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from medvlp.core.errors import ConfigError, DataError, did_you_mean
from medvlp.core.table import FeatureTable
from medvlp.core.unit import unit_embeddings
from medvlp.evaluation.blind_pairs import blind_pair_metrics, posed_pairs, with_scores
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.pair_patterns import PATTERNS
from medvlp.evaluation.results import Result
from medvlp.features.blind_pairs import By, blind_pairs


class BlindPairs(Measure):
    r"""MMVP for radiographs (Tong et al. 2024): does each of two statements prefer its own of two like pictures?

    Pairs are mined (`medvlp.features.blind_pairs`) among pictures of different patients; those of which the data's
    columns tell that they differ in a pattern's fact become questions: presence, a small finding, side, one or both
    sides, size, lobe, the tip of a tube. A pair is right where both statements are: chance is 25 %.

    To compare a model before and after a change, give both evaluations the same `ours`: pairs then are the same.

    Args:
        other: feature table (`medvlp embed`) of a self-supervised tower on the same records; None: pairs need only be
            alike to ours.
        ours: feature table of the model that the pairs are blind spots of; None: the model that is evaluated.
        alike: cosine of ours above which a pair is alike, 0.95 in the paper (as known of it, not checked).
        apart: cosine of the other below which it is apart, 0.6 in the paper (likewise).
        by: ``quantile`` reads both as shares of all pairs instead, as films, all much alike, often need.
        patterns: of `medvlp.evaluation.pair_patterns.PATTERNS`; all by default.
        words: finding -> what statements call it; its name by default.
        most: pairs of a pattern and finding; the paper has 15 of each of nine patterns.

    References:
        Tong et al. 2024, Eyes Wide Shut, MMVP-VLM; its patterns are of photographs, these are of radiographs.

    Note:
        Pairs are chosen because one model fails on them: its own number is low by choice, and is no estimate of how
        often it errs. Compare models, or before and after, on the same pairs.

    Example:
        >>> BlindPairs(patterns=("side",)).most
        100
    """

    usual: ClassVar[bool] = False
    order: ClassVar[int] = 62

    def __init__(
        self,
        *,
        other: str | None = None,
        ours: str | None = None,
        alike: Annotated[float, Field(ge=-1, le=1)] = 0.95,
        apart: Annotated[float, Field(ge=-1, le=1)] = 0.6,
        by: By = "cosine",
        patterns: tuple[str, ...] = (),
        words: Mapping[str, str] = {},
        most: Annotated[int, Field(ge=1)] = 100,
    ) -> None:
        for name in patterns:
            if name not in PATTERNS:
                raise ConfigError(f"There is no pattern {name!r} of blind pairs: {did_you_mean(name, PATTERNS)}.")
        if by == "quantile" and not (0 <= alike <= 1 and 0 <= apart <= 1):
            raise ConfigError(f"alike {alike} and apart {apart} of blind pairs are shares by quantile: 0 to 1 each.")
        self.other, self.ours, self.by, self.words, self.most = other, ours, by, dict(words), most
        self.alike, self.apart, self.patterns = alike, apart, patterns or tuple(PATTERNS)

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield the result.

        Raises:
            DataError: if the model compares no embeddings, or no pair is blind and differs in a known fact.
        """
        if not evaluation.compares or not evaluation.knows_patients:
            raise DataError(
                "evaluation.measures.blind_pairs compares embeddings of pictures and texts of known patients, which "
                "this model or data has not: leave it out."
            )
        manifest, image = evaluation.seen_rows()
        ids, patients = (list(map(str, manifest.column(name).tolist())) for name in ("id", "id.patient"))
        judged = FeatureTable(ids, {"image/embedding": image})
        ours = judged if self.ours is None else FeatureTable.load(Path(self.ours))
        other = None if self.other is None else FeatureTable.load(Path(self.other))
        known = dict(zip(ids, patients, strict=True))
        pairs = blind_pairs(
            _within(ours, known),
            None if other is None else _within(other, known),
            alike=self.alike,
            apart=self.apart,
            by=self.by,
            patients=known,
        )
        posed = posed_pairs(pairs, manifest, patterns=self.patterns, words=self.words, most=self.most)
        if posed.empty:
            raise DataError(
                f"evaluation.measures.blind_pairs finds no question: {len(pairs.first)} pairs are blind (alike above "
                f"{pairs.alike:.3f}), and none differs in a fact that the data's columns tell: set by to quantile, or "
                "alike and apart to other limits."
            )
        answered = with_scores(posed, unit_embeddings(image, "Image"), evaluation.model.embed_text)
        rows = blind_pair_metrics(answered, patients, split=evaluation.options.split)
        cases = answered.assign(
            id=[ids[row] for row in answered["first"]],
            patient_id=[patients[row] for row in answered["first"]],
            other_id=[ids[row] for row in answered["second"]],
            other_patient_id=[patients[row] for row in answered["second"]],
            statements=[" / ".join(side[0] for side in both) for both in answered["statements"]],
        )
        yield Result(
            name="blind_pairs",
            title="Pairs that are seen alike, and the statement that tells them apart",
            metrics=tuple(rows),
            cases=cases.drop(columns=["first", "second"]),
            options={"pairs": len(pairs.first), "alike": pairs.alike, "apart": pairs.apart, "by": self.by},
            caveats=() if self.ours is not None else ("The pairs were chosen because this model sees them alike.",),
        )


def _within(table: FeatureTable, known: Mapping[str, str]) -> FeatureTable:
    """Return the rows of the judged records."""
    return table.rows(np.array([row in known for row in table.ids], dtype=bool))
