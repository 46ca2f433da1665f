"""Maps of findings against boxes and masks, where they are known; baselines, and tests of the maps themselves."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar

from pydantic import Field

from medvlp.answers.asking.model import prompt_sets
from medvlp.answers.prompting.class_vectors import directions
from medvlp.answers.prompting.recipe_files import load_recipe
from medvlp.core.errors import ConfigError
from medvlp.core.registry import build
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.grounding.baselines import centre_prior, constant_box, fit_constant_box
from medvlp.evaluation.grounding.evaluate import evaluate_grounding
from medvlp.evaluation.grounding.gain import gain_rows
from medvlp.evaluation.grounding.regions import Regions
from medvlp.evaluation.grounding.sanity import evaluate_sanity
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.results import Metric, Result
from medvlp.features.randomised import randomised
from medvlp.measures._grounding_maps import (
    Drawer,
    DrawnMap,
    Question,
    by_answer,
    by_method,
    choice_rows,
    evenly,
    maps_of,
    questions_of,
    thresholds_of,
    training_boxes,
)
from medvlp.text.prompts import PromptSet

logger = logging.getLogger(__name__)

_DEFAULTS = ("hires_cam", "similarity")  # the first that the model can make
_STAGES = (0.25, 0.5, 0.75)


class Grounding(Measure):
    """Whether maps lie where findings are, beside a middle point, a box of the training set, and random weights.

    A bundle keeps how often each map hits each finding, and how much more often than the middle of the picture does
    (`medvlp.evaluation.grounding.gain`).

    Reads the columns ``boxes.F`` and ``mask.F`` of images. Of a model whose embeddings are compared with prompts the
    maps are components of `medvlp.features.maps`, ``grounding_MAP``; of another one what its first answer with scores
    says of where it looked, ``grounding_ANSWER``.

    Args:
        maps: components of `medvlp.features.maps`; None: ``hires_cam``, ``similarity`` where a class token is pooled.
        cases: pictures with each finding, and as many without it, evenly taken.
        most_pixels: looked at in a picture; larger ones are looked at in every second (third ...) row and column.
        sanity: cases of the maps' own tests; 0 leaves them out, and the maps of random weights.
        recipe: of ``configs/zero_shot/recipes``, or a file, whose prompts embeddings are compared with; None: the
            model's own, which may not ask for what the data has places of. A bundle keeps no rates of other words.

    Raises:
        ConfigError: for a map or recipe that there is not, or a faulty option of one.

    Example:
        >>> Grounding(maps=[{"name": "similarity"}]).cases
        50
    """

    order: ClassVar[int] = 80

    def __init__(
        self,
        *,
        maps: list[dict[str, Any]] | None = None,
        cases: Annotated[int, Field(ge=1)] = 50,
        most_pixels: Annotated[int, Field(ge=1)] = 1 << 18,
        sanity: Annotated[int, Field(ge=0)] = 32,
        recipe: str | None = None,
    ) -> None:
        self.cases, self.most_pixels, self.sanity, self.recipe = cases, most_pixels, sanity, recipe
        self.methods: dict[str, tuple[Any, dict[str, Any]]] | None = None
        if maps is not None:
            self.methods = {}
            for at, spec in enumerate(maps):
                name = str(spec.get("name"))
                method = build("features/maps", spec, where=f"evaluation.measures.grounding.maps[{at}]")
                self.methods[name if name not in self.methods else f"{name}_{at}"] = method, spec

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield every map, its sanity checks and the baselines; nothing where no region is known.

        Raises:
            ConfigError: for a map that was asked for and cannot be made.
        """
        prepared, manifest = evaluation.judged.prepared, evaluation.manifest
        if evaluation.model.model.vision_kind != "image" or "image" not in manifest:  # slices of volumes are no files
            return
        regions = Regions(manifest)
        findings = [label for label in self._labels(evaluation) if label in regions.findings]
        if regions.findings and not findings:
            logger.info(f"No grounding: places are known of {', '.join(regions.findings)}, and none is asked for.")
        questions = questions_of(prepared, regions, findings, self.cases)
        if not any(question.region.present for question in questions):
            return
        baselines: list[Result] = []
        for name, drawer in self._drawers(evaluation, questions).items():
            drawn = list(self._maps(evaluation, drawer, questions))
            baselines = baselines or list(_baselines(self._measured(evaluation), evaluation, regions, findings, drawn))
            yield from self._results(evaluation, name, drawer, regions, findings, drawn, baselines[0])
        yield from baselines

    def _labels(self, evaluation: Evaluation) -> list[str]:
        if evaluation.compares:
            return [each.label for each in self._prompts(evaluation)]
        return next((list(said.scores or ()) for _, _, said in evaluation.giving("scores")), [])

    def _prompts(self, evaluation: Evaluation) -> Sequence[PromptSet]:
        own = prompt_sets(evaluation.answers)
        return own if self.recipe is None else load_recipe(self.recipe, own=own).prompts

    def _drawers(self, evaluation: Evaluation, questions: list[Question]) -> dict[str, Drawer]:
        """Return the maps that are asked for; by default the first that the model can make."""
        if not evaluation.compares:
            if self.methods is not None:
                raise ConfigError(
                    "evaluation.measures.grounding.maps follow the words of findings, and this model compares no "
                    "embeddings with words: leave maps out."
                )
            name, answer, _ = next(evaluation.giving("scores"))
            return self._first(evaluation, {name: by_answer(name, answer)}, questions)
        words = directions(self._prompts(evaluation), evaluation.model.embed_text)
        asked = "" if evaluation.prompted is None else evaluation.prompted[0]
        if self.methods is not None:
            return {name: by_method(asked, method, words, spec) for name, (method, spec) in self.methods.items()}
        where = "evaluation.measures.grounding.maps"
        specs = {name: {"name": name} for name in _DEFAULTS}
        made = {name: build("features/maps", spec, where=where) for name, spec in specs.items()}
        drawers = {name: by_method(asked, made[name], words, spec) for name, spec in specs.items()}
        return self._first(evaluation, drawers, questions)

    def _first(
        self, evaluation: Evaluation, drawers: dict[str, Drawer], questions: list[Question]
    ) -> dict[str, Drawer]:
        reasons = []
        for name, drawer in drawers.items():
            try:
                next(self._maps(evaluation, drawer, questions[:1]))
            except ConfigError as error:
                reasons.append(str(error))
            else:
                return {name: drawer}
        logger.info(f"No grounding, this model makes no map: {' '.join(reasons)}")
        return {}

    def _maps(self, evaluation: Evaluation, drawer: Drawer, questions: list[Question]) -> Iterator[DrawnMap]:
        return maps_of(drawer, evaluation.model.model, evaluation.judged.prepared, questions, self.most_pixels)

    def _measured(self, evaluation: Evaluation) -> partial[Result]:
        least = evaluation.options.min_positives
        return partial(evaluate_grounding, min_positives=least, **evaluation.facts)

    def _results(
        self,
        evaluation: Evaluation,
        name: str,
        drawer: Drawer,
        regions: Regions,
        findings: list[str],
        drawn: list[DrawnMap],
        centre: Result,
    ) -> Iterator[Result]:
        """Yield one map beside the picture's middle, that of random weights, and how it changes on the way there."""
        thresholds: dict[str, float] = {}
        chosen: list[Metric] = []
        model, seed = evaluation.model.model, evaluation.options.seed
        if evaluation.validation is not None:
            held = evaluation.validation.prepared
            tuning = questions_of(held, regions, findings, self.cases)
            of_validation = list(maps_of(drawer, model, held, tuning, self.most_pixels))
            thresholds = thresholds_of(iter(of_validation))
            chosen = choice_rows(of_validation, split=str(evaluation.options.fit))
        measured = partial(self._measured(evaluation), scale=drawer.scale)
        titled = {"name": f"grounding_{name}", "title": f"Grounding: {name}"}
        own = measured((each.case() for each in drawn), thresholds=thresholds, **titled)
        assert own.cases is not None, "both have just been measured"
        assert centre.cases is not None, "both have just been measured"
        gains = gain_rows(own.cases, centre.cases, split=evaluation.options.split)
        chosen_map = {"answer": drawer.answer, "method": name, "component": drawer.spec}
        fitted = {"map": chosen_map} if self.recipe is None else {}
        yield replace(own, metrics=(*own.metrics, *gains, *chosen), fitted=fitted)
        if not self.sanity:
            return
        prepared, questions = evaluation.judged.prepared, [each.question for each in drawn]
        random = randomised(model, seed=seed)
        of_random = list(maps_of(drawer, random, prepared, questions, self.most_pixels))
        titled = {"name": f"grounding_{name}_random", "title": f"Control: {name} of random weights"}
        yield measured((each.case() for each in of_random), role="control", **titled)
        some = [at for at, question in enumerate(questions) if question.region.present]
        some = [some[i] for i in evenly(len(some), self.sanity)]
        stages = {}
        for share in _STAGES:
            other = randomised(model, share=share, seed=seed)
            again = maps_of(drawer, other, prepared, [questions[at] for at in some], self.most_pixels)
            stages[f"top {share:.0%}"] = [each.values for each in again]
        stages["all"] = [of_random[at].values for at in some]
        yield evaluate_sanity(
            [drawn[at].values for at in some],
            stages,
            ids=[drawn[at].id for at in some],
            patients=[drawn[at].patient for at in some],
            findings=[drawn[at].question.finding for at in some],
            name=f"grounding_{name}_sanity",
            title=f"Sanity of the map {name}",
            **evaluation.facts,
        )


def _baselines(
    measured: partial[Result], evaluation: Evaluation, regions: Regions, findings: list[str], drawn: list[DrawnMap]
) -> Iterator[Result]:
    control = partial(measured, scale="peak", role="control")
    titled = {"name": "grounding_centre", "title": "Control: middle of the picture"}
    yield control((centre_prior(each.case()) for each in drawn), **titled)
    if "train" not in evaluation.splits or evaluation.options.split == "train":
        return
    boxes = training_boxes(evaluation.prepared("train"), regions, findings)
    if boxes:
        pooled = fit_constant_box([some for each in boxes.values() for some in each])
        fitted = {finding: fit_constant_box(each) for finding, each in boxes.items()}
        titled = {"name": "grounding_constant_box", "title": "Control: one training box"}
        cases = (constant_box(each.case(), fitted.get(each.question.finding, pooled)) for each in drawn)
        yield control(cases, **titled)
