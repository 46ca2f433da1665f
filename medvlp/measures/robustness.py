"""One factor changed: exposure, pose, devices, image quality, polarity, or a lateral picture shown as a frontal one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.errors import DataError, UserError
from medvlp.core.sample import Sample
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.results import Result
from medvlp.evaluation.robustness.evaluate import Condition, evaluate_robustness
from medvlp.evaluation.robustness.factors import FACTORS, LATERAL, change, chosen_factors
from medvlp.measures._changed_pictures import (
    LATERAL_VIEWS,
    ChangedPictures,
    frontal_cases,
    scored_pictures,
    view_positions,
)  # fmt: skip

logger = logging.getLogger(__name__)


class Robustness(Measure):
    """How the scores of the first answer that gives some hold when one factor of the pictures changes; images only.

    Args:
        cases: frontal pictures, evenly taken; each is read and encoded once a factor and level (26 times for all).
        factors: of `medvlp.evaluation.robustness.factors.factor_names`; all where none is named.
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
        scored = scored_pictures(evaluation)
        if scored is None:
            logger.info("No robustness: it needs pictures, and an answer that gives scores of them.")
            return
        judged = evaluation.judged
        cases = frontal_cases(judged.manifest, judged.table[evaluation.features], self.cases)
        if not cases:
            return
        work = _Work(evaluation, ChangedPictures(evaluation, scored[1]), cases)
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
            yield evaluate_robustness(clean, changed, min_positives=self.min_positives, **evaluation.facts)


@dataclass(frozen=True)
class _Work:
    evaluation: Evaluation
    asked: ChangedPictures
    cases: Sequence[int]

    def condition(self, factor: str, level: str, amount: float | None) -> Condition:
        """Score the cases, each changed by the factor as the model is shown it: preprocessing would cut it twice."""

        def samples() -> Iterator[Sample]:
            for at in self.cases:
                sample = self.evaluation.judged.prepared.sample(at)
                pixels = sample.fields["image"]
                if not isinstance(pixels, Tensor):
                    raise UserError(f"{sample.id!r} has no pixels to change: leave robustness out.")
                if amount is not None:
                    seed = self.evaluation.options.seed
                    moved = change(pixels.mean(0).numpy(), factor, amount, name=sample.id, seed=seed)
                    pixels = torch.from_numpy(moved).expand_as(pixels)
                yield Sample(sample.id, {"image": pixels})

        return self.asked.condition(factor, level, self.cases, samples())

    def lateral(self) -> list[Condition]:
        """Score the lateral picture of a case's study in its place, where there is one."""
        evaluation = self.evaluation
        others = evaluation.others({name: v for name, v in evaluation.where.items() if name != "view_position"})
        positions = view_positions(others)
        if positions is None or "id.study" not in others:
            logger.info("The data names no views or studies: a lateral picture shown as a frontal one is left out.")
            return []
        studies = others.column("id.study").tolist()
        lateral = {study: at for at, study in enumerate(studies) if positions[at] in LATERAL_VIEWS}
        own = evaluation.judged.manifest.column("id.study").tolist()
        pairs = [(at, lateral[own[at]]) for at in self.cases if own[at] in lateral]
        pictures: dict[int, Tensor] = {}
        for at, other in pairs:
            with suppress(DataError):  # nobody has read these files before: a damaged one ends no evaluation
                pictures[at] = self._pixels(str(others.path(other)))
        logger.info(f"Of {len(self.cases)} cases {len(pairs)} have a lateral picture, {len(pictures)} a readable one.")
        samples = (Sample("", {"image": pixels}) for pixels in pictures.values())
        return [self.asked.condition(LATERAL, "1", list(pictures), samples)] if pictures else []

    def _pixels(self, picture: str) -> Tensor:
        prepared = self.evaluation.model.prepare(picture).pixels
        if not isinstance(prepared, Tensor):
            raise UserError("This bundle's preprocessing makes no picture of a file: leave robustness out.")
        return prepared
