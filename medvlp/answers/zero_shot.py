"""Zero-shot findings: how much more an image is like "effusion" than like "no effusion"."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch

from medvlp.answers.prompting.class_vectors import ZeroShotVectors, make_zero_shot
from medvlp.answers.prompting.recipe import Given, Recipe, class_vector, pair_probability
from medvlp.answers.prompting.recipe_files import NamedRecipe, load_recipe, recipe_names
from medvlp.answers.prompting.recipe_scores import RecipeScores, given_of
from medvlp.answers.prompting.text_scores import TextScores
from medvlp.core.answers import Answer, Ask, Rows
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key
from medvlp.core.map import Map
from medvlp.core.predictions import Predictions
from medvlp.core.protocols import Model, Score
from medvlp.core.provenance import hash_of
from medvlp.core.registry import FromModel, build, fill
from medvlp.core.resources import resource
from medvlp.core.sample import Sample
from medvlp.features.embed import embed, logit_scale
from medvlp.features.heat_map import heat_maps
from medvlp.models.scores.dot import Dot
from medvlp.text.prompts import PromptSet, load_prompts, named_in

_RECIPES = "answers/recipes"


@dataclass(frozen=True)
class _Begun:
    model: Model
    scores: TextScores
    vectors: ZeroShotVectors | None
    given: Given | None


class ZeroShot(Answer):
    """Scores of findings from pairs of prompts, by the score that the model was trained with.

    For each finding with positive prompts P and negative prompts N: sigmoid(s (f(v, P) - f(v, N))), with s the model's
    logit scale (pairs as in BioViL, Boecking et al. 2022). With the dot product f(v, P) is the cosine with the unit
    mean of the prompts' embeddings (ensembles as in CLIP, Radford et al. 2021); with any other score it is the mean of
    the scores of the single prompts.

    Args:
        prompts: file of prompt sets, from the working folder, else of ``configs/``; or the name of a recipe of
            ``configs/zero_shot/recipes``, whose prompts are taken; or the sets themselves.
        recipe: instead of that formula: component of `medvlp.answers.recipes` and its options, by which a released
            model asks: ``{name: pair_softmax, scale: 1.0}``.
        source: name of the recipe, for titles.
        positive_only: whether f(v, N) is left out: what CARZero scores by.
        score: by which the model compares; given by the builder, the dot product where there is none.

    Raises:
        ConfigError: if the prompts or the recipe cannot be read.

    Example:
        >>> ZeroShot(prompts=[{"name": "v1", "label": "edema", "positive": ["edema"], "negative": ["no edema"]}]).labels
        ('edema',)
    """

    gives: ClassVar[frozenset[str]] = frozenset({"scores"})
    title = "Zero-shot, prompt pairs"

    def __init__(
        self,
        *,
        prompts: str | list[dict[str, Any]] = "zero_shot/cxr_findings_v1.yaml",
        recipe: dict[str, Any] | None = None,
        source: str = "own",
        positive_only: bool = False,
        score: Annotated[Score | None, FromModel("score")] = None,
    ) -> None:
        self.prompts: tuple[PromptSet, ...] = _read(prompts)
        self.labels = tuple(each.label for each in self.prompts)
        self.score = score or Dot()
        self.recipe: RecipeScores | None = None
        self._source = source
        self._positive_only = positive_only
        if recipe is not None and positive_only:
            raise ConfigError("positive_only of answer 'zero_shot' is of its own formula, and a recipe has another.")
        if recipe is not None:
            made: Recipe = build(_RECIPES, recipe, where="recipe")
            spec = fill(_RECIPES, recipe, where="recipe")
            self.recipe = RecipeScores(NamedRecipe(source, made, self.prompts, spec, hash_of(spec)))
            self.title = self.recipe.title

    def needs(self, model: Model) -> frozenset[Key]:
        """What the score reads of pictures."""
        own = frozenset(Key(model.vision_kind, part) for part in self.score.reads)
        return own if self.recipe is None else own | self.recipe.needs(model)

    def check(self, model: Model) -> None:
        """Refuse a model that reads no texts."""
        if not model.reads_text:
            raise ConfigError("This model reads no texts, so it cannot be asked zero-shot: leave that answer out.")
        super().check(model)

    def begin(self, model: Model, ask: Ask) -> _Begun:
        """Embed the prompts, each distinct one once."""
        vectors = None
        if self.score.cosine and not self._positive_only:
            vectors = make_zero_shot(self.prompts, lambda texts: embed(model, "text", texts), scale=logit_scale(model))
        given = None if self.recipe is None else given_of(model, self.recipe.recipe, {})
        return _Begun(model, TextScores(model, self.score), vectors, given)

    def answer(self, rows: Rows, ask: Ask, begun: _Begun) -> Predictions:
        """Return the scores of all findings, or of those asked for."""
        chosen = [each for each in self.prompts if not ask.findings or each.label in ask.findings]
        if self.recipe is not None and begun.given is not None:
            said = self.recipe.answer(rows, ask, (begun.model.vision_kind, begun.given))
            return replace(said, scores={each.label: (said.scores or {})[each.label] for each in chosen})
        if begun.vectors is not None:
            seen = rows.table[f"{begun.model.vision_kind}/embedding"]
            scores: Mapping[str, np.ndarray] = begun.vectors.by_label(seen)
        else:
            denied = {each.label: () if self._positive_only else each.negative for each in chosen}
            near = begun.scores.of(rows.table, [t for each in chosen for t in (*each.positive, *denied[each.label])])
            scores = {}
            for each in chosen:
                yes = np.mean([near[t] for t in each.positive], axis=0)
                no = np.mean([near[t] for t in denied[each.label]] or [np.zeros_like(yes)], axis=0)
                scores[each.label] = pair_probability(yes, no, logit_scale(begun.model))
        return Predictions(tuple(rows.table.ids), scores={each.label: scores[each.label] for each in chosen})

    def margin(self, rows: Rows, model: Model, positive: Sequence[str], negative: Sequence[str]) -> np.ndarray:
        """Return f(v, positive) - f(v, negative), (N,), unscaled."""
        if self.score.cosine:
            near, far = (class_vector(embed(model, "text", list(texts))) for texts in (positive, negative))
            return rows.table[f"{model.vision_kind}/embedding"] @ (near - far)
        found = TextScores(model, self.score).of(rows.table, [*positive, *negative])
        return np.mean([found[t] for t in positive], axis=0) - np.mean([found[t] for t in negative], axis=0)

    def look(self, model: Model, sample: Sample, begun: _Begun, asked: Sequence[tuple[str, str]]) -> list[Map] | None:
        """Return the evidence of each image token; of tokens compared one by one, what each adds to the score."""
        pixels = sample.fields.get("image")
        if not isinstance(pixels, torch.Tensor):
            return None
        if begun.vectors is not None:
            directions = np.stack([begun.vectors.direction(label) for label, _ in asked]).astype(np.float32)
            return heat_maps(model, pixels, torch.from_numpy(directions))
        known = {each.label: (each.positive, each.negative) for each in self.prompts}
        found = begun.scores.tokens_of(pixels, [known[label] for label, _ in asked])
        return None if found is None else [Map(values, method="tokens") for values in found]

    def taught_by(self, texts: Iterable[str], *, known: Collection[str] = ()) -> ZeroShot:
        """Keep the findings that a text names, see `named_in`: of others the model knows nothing."""
        named = named_in(self.prompts, texts, known=known)
        prompts = [each.plain() for each in self.prompts if each.label in named]
        only = self._positive_only
        return ZeroShot(
            prompts=prompts, recipe=self._recipe(), source=self._source, positive_only=only, score=self.score
        )

    def released(self) -> Mapping[str, object]:
        """The prompts themselves, and the recipe where there is one."""
        own = {} if self.recipe is None else {"recipe": self._recipe(), "source": self._source}
        only = {"positive_only": True} if self._positive_only else {}
        return {"prompts": [each.plain() for each in self.prompts], **own, **only}

    def _recipe(self) -> dict[str, Any] | None:
        return None if self.recipe is None else dict(self.recipe.recipe.spec)


def _read(prompts: str | list[dict[str, Any]]) -> tuple[PromptSet, ...]:
    if isinstance(prompts, str) and prompts in recipe_names():
        return load_recipe(prompts).prompts
    if isinstance(prompts, str):
        path = Path(prompts).expanduser()
        return load_prompts(path if path.is_file() else resource("configs", prompts))
    plain: list[Any] = [{k: tuple(v) if isinstance(v, list) else v for k, v in each.items()} for each in prompts]
    try:
        sets = tuple(PromptSet(**each) for each in plain)
    except TypeError as error:
        raise ConfigError(f"A set of prompts has name, label, positive, negative, sided, uncertain: {error}.") from None
    for each in sets:
        texts = (each.positive, each.negative, each.sided, each.uncertain)
        if not each.positive or not all(isinstance(t, tuple) and all(isinstance(w, str) for w in t) for t in texts):
            raise ConfigError(f"The prompts of {each.label!r} are no lists of texts: write positive: [one, another].")
    return sets
