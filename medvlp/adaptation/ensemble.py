"""The linear probe and the zero-shot score together: few labels move what the words say, many outweigh it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from medvlp.adaptation._adapter import SCALE, Adapter, Candidate, Positive
from medvlp.adaptation.linear import linear_candidates
from medvlp.evaluation.linear_classifier import STRENGTHS
from medvlp.statistics.metrics import FloatArray


@dataclass(kw_only=True, eq=False)
class Ensemble(Adapter):
    """Log-odds of the linear probe plus ``a`` times ``100 x t`` of text vectors t; C and a are chosen for each finding.

    The sum of two linear classifiers of one space is the average of their weights, as WiSE (Wortsman et al. 2022)
    averages a fine-tuned and a zero-shot head.

    Args:
        strengths: inverse regularisations C of the probe.
        weights: a; 0 is the probe alone.
        refit: whether the probe is fitted again on training and validation rows together.

    Example:
        >>> Ensemble(strengths=(1.0,), weights=(0.0, 0.5)).grid(None)
        [(1.0, 0.0), (1.0, 0.5)]
    """

    title: ClassVar[str] = "Linear probe with zero-shot"
    axes: ClassVar[tuple[str, ...]] = ("strengths", "weights")
    needs_words: ClassVar[bool] = True

    strengths: Positive = STRENGTHS
    weights: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)] = (0.0, 0.03, 0.1, 0.3, 1.0)
    refit: bool = True

    def candidates(
        self, rows: FloatArray, labels: FloatArray, words: FloatArray | None, grid: Sequence[tuple[float, float]]
    ) -> list[Candidate]:
        """The probe for each strength, moved by the words for each weight."""
        assert words is not None
        strengths = sorted({strength for strength, _ in grid})
        probes = dict(zip(strengths, linear_candidates(rows, labels, strengths), strict=True))
        return [{**probes[c], "output.weight": probes[c]["output.weight"] + share * SCALE * words} for c, share in grid]
