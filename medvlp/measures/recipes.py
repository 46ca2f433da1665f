"""Zero-shot recipes that are judged beside the answers that a model was released with."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from medvlp.answers.asking.model import prompt_sets
from medvlp.answers.prompting.recipe_files import load_recipe
from medvlp.answers.prompting.recipe_scores import RecipeScores
from medvlp.core.errors import DataError
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.results import Result
from medvlp.measures._label_sets import label_sets

logger = logging.getLogger(__name__)


class Recipes(Measure):
    """One result for each recipe, of models that read texts; pictures are read again where it asks for further parts.

    Args:
        recipes: names of ``configs/zero_shot/recipes``, or files.
        label_sets: as for `classification`.

    Example:
        >>> Recipes(recipes=("chexzero_v1",)).recipes
        ('chexzero_v1',)
    """

    usual: ClassVar[bool] = False
    order: ClassVar[int] = 30

    def __init__(
        self,
        *,
        recipes: Annotated[tuple[str, ...], Field(min_length=1)],
        label_sets: dict[str, list[str]] | None = None,
    ) -> None:
        self.recipes = recipes
        self.label_sets: Mapping[str, list[str]] = label_sets or {}

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield the result of each recipe.

        Raises:
            ConfigError: for a recipe that reads what the model does not make.
            DataError: if the data has no label of any finding that a recipe scores.
        """
        model, manifest = evaluation.model, evaluation.manifest
        if not evaluation.sees or not (evaluation.prompts or model.model.reads_text):
            logger.info("No recipes: they compare pictures with texts, and this model does not.")
            return
        for wanted in self.recipes:
            answer = RecipeScores(load_recipe(wanted, own=prompt_sets(evaluation.answers)))
            answer.check(model.model)
            said = evaluation.asked(answer)
            scores = {} if said is None or said.scores is None else said.scores
            known = {label: values for label, values in scores.items() if f"label.{label}" in manifest}
            if said is None or not known:
                name = answer.recipe.name
                raise DataError(f"The recipe {name!r} scores no finding that this data has labels of: leave it out.")
            parts = [(answer.name, answer.title, known, said.notes)]
            parts += [
                (f"{answer.name}_{own}", f"{answer.title}, {own}", some, (*said.notes, *missing))
                for own, some, missing in label_sets(self.label_sets, known, manifest)
            ]
            for name, title, some, notes in parts:
                yield evaluation.scores(name, some, title, hashed=answer.recipe.hash, notes=notes)
