"""Zero-shot findings by a recipe that a bundle was released with: the formula and the prompts of its authors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from medvlp.answers.prompting.recipe import Given, Recipe
from medvlp.answers.prompting.recipe_files import NamedRecipe
from medvlp.answers.prompting.recipe_scores import RecipeScores, given_of
from medvlp.answers.zero_shot import ZeroShot
from medvlp.core.answers import Ask, Rows
from medvlp.core.keys import Key
from medvlp.core.map import Map
from medvlp.core.predictions import Predictions
from medvlp.core.protocols import Model
from medvlp.core.provenance import hash_of
from medvlp.core.registry import build, fill
from medvlp.core.sample import Sample

__all__ = ["ZeroShotRecipe"]

_RECIPES = "answers/recipes"


@dataclass(frozen=True)
class _Begun:
    given: tuple[str, Given]
    pairs: Any


class ZeroShotRecipe(ZeroShot):
    """Scores of findings by a component of `medvlp.answers.recipes`; sentences and maps as `ZeroShot` makes them.

    Args:
        recipe: component and its options: ``{name: pair_softmax, scale: 1.0}``.
        prompts: as of `ZeroShot`.
        source: name of the recipe that it was taken from, for titles.

    Raises:
        ConfigError: if the recipe or its prompts cannot be read.

    Example:
        >>> ZeroShotRecipe(recipe={"name": "pair_softmax", "scale": 1.0}, source="chexzero_v1").title
        'Zero-shot, chexzero_v1 (pair-softmax)'
    """

    def __init__(
        self,
        *,
        recipe: dict[str, Any],
        prompts: str | list[dict[str, Any]] = "zero_shot/cxr_findings_v1.yaml",
        source: str = "own",
    ) -> None:
        super().__init__(prompts=prompts)
        made: Recipe = build(_RECIPES, recipe, where="recipe")
        self.spec = fill(_RECIPES, recipe, where="recipe")
        self._scores = RecipeScores(NamedRecipe(source, "", made, self.prompts, self.spec, hash_of(self.spec)))
        self.source, self.title = source, self._scores.title

    def needs(self, model: Model) -> frozenset[Key]:
        """What the recipe and the maps read of pictures."""
        return super().needs(model) | self._scores.needs(model)

    def begin(self, model: Model, ask: Ask) -> _Begun:  # pyrefly: ignore
        """Embed the prompts."""
        return _Begun((model.pictures, given_of(model, self._scores.recipe, {})), super().begin(model, ask))

    def answer(self, rows: Rows, ask: Ask, begun: _Begun) -> Predictions:  # pyrefly: ignore
        """Return the recipe's scores of all findings, or of those asked for."""
        said = self._scores.answer(rows, ask, begun.given)
        kept = {label: s for label, s in (said.scores or {}).items() if not ask.findings or label in ask.findings}
        return replace(said, scores=kept)

    def look(  # pyrefly: ignore
        self, model: Model, sample: Sample, begun: _Begun, asked: Sequence[tuple[str, str]]
    ) -> list[Map] | None:
        """Return maps as `ZeroShot` makes them, of the same prompts."""
        return super().look(model, sample, begun.pairs, asked)

    def taught_by(self, texts: Any, *, known: Any = ()) -> ZeroShotRecipe:  # noqa: ANN401
        """Keep the findings that a text names."""
        kept = super().taught_by(texts, known=known).released()["prompts"]
        return ZeroShotRecipe(recipe=self.spec, prompts=kept, source=self.source)  # pyrefly: ignore

    def released(self) -> Mapping[str, object]:
        """The recipe and its prompts, written out."""
        return {"recipe": self.spec, **super().released(), "source": self.source}
