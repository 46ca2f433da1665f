"""One factor changed: exposure, pose, devices, image quality, polarity, or a lateral picture shown as a frontal one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field
from torch import Tensor

from medvlp.answers.asking.ask import ask_of, ask_samples
from medvlp.core.answers import Answer
from medvlp.core.errors import UserError
from medvlp.core.sample import Sample
from medvlp.data.manifest import Manifest
from medvlp.evaluation.evaluation import Evaluation, scored_rows
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.results import Result
from medvlp.evaluation.robustness.evaluate import Condition, evaluate_robustness
from medvlp.evaluation.robustness.factors import FACTORS, LATERAL, change, chosen_factors
from medvlp.measures._grounding_maps import evenly

__all__ = ["Robustness"]

logger = logging.getLogger(__name__)

_LATERAL_VIEWS = frozenset({"LATERAL", "LL", "RL", "L"})  # the last as some tables say it
_BATCH = 32


class Robustness(Measure):
    """How the scores of the first answer that gives some hold when one factor of the pictures changes; images only.

    Args:
        cases: frontal pictures, evenly taken; each is read and encoded once a factor and level (26 times for all).
        factors: of `medvlp.evaluation.robustness.factor_names`; all where none is named.
        min_positives: positive records that a finding needs to take part in a macro average.

    Raises:
        ConfigError: for a factor that there is not.

    Example:
        >>> Robustness(factors=("darker",)).factors
        ('darker',)
    """

    usual: ClassVar[bool] = False
    order: ClassVar[int] = 90

    def __init__(
        self,
        *,
        cases: Annotated[int, Field(ge=1)] = 200,
        factors: tuple[str, ...] = (),
        min_positives: Annotated[int, Field(ge=1)] = 10,
    ) -> None:
        self.cases, self.min_positives = cases, min_positives
        self.factors = tuple(chosen_factors(list(factors)))

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield the fall of AUROC by factor and level, and how many such pictures the bundle's gate flags."""
        scored = next(evaluation.giving("scores"), None)
        if scored is None or not evaluation.sees or evaluation.model.model.vision_kind != "image":
            logger.info("No robustness: it needs pictures, and an answer that gives scores of them.")
            return
        manifest, features = evaluation.judged.manifest, evaluation.judged.table[evaluation.features]
        positions = _positions(manifest)
        seen = [
            int(at)
            for at in np.flatnonzero(np.isfinite(features).all(axis=1))
            if positions is None or positions[int(at)] not in _LATERAL_VIEWS
        ]
        cases = [seen[at] for at in evenly(len(seen), self.cases)]
        if not cases:
            return
        work = _Work(evaluation, scored[1], cases)
        clean = work.condition("", "", None)
        changed = [
            work.condition(name, f"{level:g}", level)
            for name in self.factors
            if name in FACTORS
            for level in FACTORS[name].levels
        ]
        if LATERAL in self.factors:
            changed += work.lateral()
        if changed:
            yield evaluate_robustness(
                clean, changed, min_positives=self.min_positives, **evaluation.drawn, **evaluation.facts
            )


@dataclass(frozen=True)
class _Work:
    evaluation: Evaluation
    answer: Answer
    cases: Sequence[int]

    def condition(self, factor: str, level: str, amount: float | None) -> Condition:
        """Score the cases, each changed by the factor and read again through the model's own preprocessing."""

        def images() -> Iterator[Tensor]:
            for at in self.cases:
                sample = self.evaluation.judged.prepared.sample(at)
                pixels = sample.fields["image"]
                if not isinstance(pixels, Tensor):
                    raise UserError(f"{sample.id!r} has no pixels to change: leave robustness out.")
                if amount is None:
                    yield pixels
                else:
                    seed = self.evaluation.options.seed
                    yield self._pixels(change(pixels.mean(0).numpy(), factor, amount, name=sample.id, seed=seed))

        return self._scored(factor, level, self._rows(self.cases), images())

    def lateral(self) -> list[Condition]:
        """Score the lateral picture of a case's study in its place, where there is one."""
        evaluation = self.evaluation
        others = evaluation.others({name: v for name, v in evaluation.where.items() if name != "view_position"})
        positions = _positions(others)
        if positions is None or "id.study" not in others:
            logger.info("The data names no views or studies: a lateral picture shown as a frontal one is left out.")
            return []
        studies = others.column("id.study").tolist()
        lateral = {study: at for at, study in enumerate(studies) if positions[at] in _LATERAL_VIEWS}
        own = evaluation.judged.manifest.column("id.study").tolist()
        pairs = [(at, lateral[own[at]]) for at in self.cases if own[at] in lateral]
        if not pairs:
            logger.info("No case has a lateral picture in its study: a lateral shown as a frontal is left out.")
            return []
        images = (self._pixels(str(others.path(other))) for _, other in pairs)
        return [self._scored(LATERAL, "1", self._rows([at for at, _ in pairs]), images)]

    def _rows(self, cases: Sequence[int]) -> Manifest:
        return self.evaluation.judged.manifest.take(np.array(cases))

    def _pixels(self, picture: str | np.ndarray) -> Tensor:
        prepared = self.evaluation.model.prepare(picture).pixels
        if not isinstance(prepared, Tensor):
            raise UserError("This bundle's preprocessing makes no picture of a file: leave robustness out.")
        return prepared

    def _scored(self, factor: str, level: str, manifest: Manifest, images: Iterator[Tensor]) -> Condition:
        gate, flagged = self.evaluation.model.bundle.gate, []

        def samples() -> Iterator[Sample]:
            for name, pixels in zip(manifest.column("id"), images, strict=True):
                if gate is not None:
                    flagged.append(gate.verdict(pixels).flagged)
                yield Sample(str(name), {"image": pixels})

        ask = ask_of(self.answer, manifest)
        asks = {} if ask is None else {"it": ask}
        said = ask_samples({"it": self.answer}, self.evaluation.model.model, samples(), asks=asks, batch=_BATCH)["it"]
        rows = scored_rows(manifest, said.scores or {})
        rows.pop("split")
        return Condition(factor, level, pd.DataFrame(rows), np.array(flagged) if flagged else None)


def _positions(manifest: Manifest) -> list[str] | None:
    if "view_position" not in manifest:
        return None
    return [str(value).upper() for value in manifest.column("view_position")]
