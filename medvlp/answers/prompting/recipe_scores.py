"""A recipe on a model: embed what it reads, then score. And its single prompts, and its uncertain ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from medvlp.answers.prompting.class_vectors import EmbedText
from medvlp.answers.prompting.recipe import FloatArray, Given, class_vector, dots, pair_probability, softmax
from medvlp.answers.prompting.recipe_files import NamedRecipe
from medvlp.core.answers import Answer, Ask, Rows
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key
from medvlp.core.predictions import Predictions
from medvlp.core.protocols import Model
from medvlp.features.embed import embed_parts, logit_bias, logit_scale
from medvlp.models.bank import Bank
from medvlp.text.prompts import PromptSet

BATCH_SENTENCE = (
    "Scores of the recipe {name} depend on the other images that were scored together: they cannot be compared with "
    "those of another batch."
)


def given_of(model: Model, recipe: NamedRecipe, images: Mapping[str, np.ndarray]) -> Given:
    """Return what a recipe scores: stored parts of images, and its texts as the model embeds them."""
    words = recipe.recipe.words(recipe.prompts)
    parts = recipe.recipe.text_parts
    texts = embed_parts(model, "text", list(words), parts) if words and parts else {}
    banks: Mapping[str, Bank] = model.banks  # pyrefly: ignore
    heads = dict(model.heads.items())
    seen = recipe.recipe.image_parts
    names = {p: banks[p].names or banks[p].texts for p in seen if p in banks}
    names |= {p: head.names for p in seen if (head := heads.get(f"{model.vision_kind}/{p}")) is not None and head.names}
    return Given(recipe.prompts, images, words, texts, logit_scale(model), logit_bias(model), names)


class RecipeScores(Answer):
    """Scores of findings by a named recipe, of a bundle that was not released with it.

    Args:
        recipe: with its prompts.

    Attributes:
        name: under which results state it.

    Example:
        >>> from medvlp.answers.prompting.recipe_files import load_recipe
        >>> said = RecipeScores(load_recipe("chexzero_v1"))
        >>> said.name, said.title, said.labels[0]
        ('zero_shot_chexzero_v1', 'Zero-shot, chexzero_v1 (pair-softmax)', 'atelectasis')
    """

    gives: ClassVar[frozenset[str]] = frozenset({"scores"})

    def __init__(self, recipe: NamedRecipe) -> None:
        self.recipe = recipe
        self.name = f"zero_shot_{recipe.name}"
        self.title = f"Zero-shot, {recipe.name} ({recipe.recipe.name})"
        self.prompts = recipe.prompts
        self.labels = tuple(each.label for each in recipe.prompts)

    def needs(self, model: Model) -> frozenset[Key]:
        """The parts that the recipe reads of pictures."""
        return frozenset(Key(model.vision_kind, part) for part in self.recipe.recipe.image_parts)

    def check(self, model: Model) -> None:
        """Refuse a model that lacks a part the recipe reads."""
        try:
            super().check(model)
        except ConfigError as error:
            raise ConfigError(
                f"The recipe {self.recipe.name!r} reads {', '.join(self.recipe.recipe.image_parts)} of an image, and "
                f"this model does not make it all: choose a recipe that reads the embedding. ({error})"
            ) from error

    def begin(self, model: Model, ask: Ask) -> tuple[str, Given]:
        """Return the image kind and the encoded prompts: all that the recipe needs beside images."""
        return model.vision_kind, given_of(model, self.recipe, {})

    def answer(self, rows: Rows, ask: Ask, begun: tuple[str, Given]) -> Predictions:
        """Return the scores, in the order of the recipe's prompts; NaN where a row has no picture."""
        (view, given), recipe = begun, self.recipe.recipe
        images = {part: rows.table[str(Key(view, part))] for part in recipe.image_parts}
        there = ~np.all([np.isnan(v).all(axis=tuple(range(1, v.ndim))) for v in images.values()], axis=0)
        found = np.full((len(there), len(self.labels)), np.nan)
        if there.any():
            found[there] = recipe.scores(replace(given, images={part: v[there] for part, v in images.items()}))
        notes = (BATCH_SENTENCE.format(name=self.recipe.name),) if recipe.batch_dependent else ()
        scores = {label: found[:, i] for i, label in enumerate(self.labels)}
        return Predictions(tuple(rows.table.ids), scores=scores, notes=notes)


def single_prompt_scores(
    images: np.ndarray, prompts: Sequence[PromptSet], embed_text: EmbedText, *, scale: float
) -> dict[str, dict[str, FloatArray]]:
    """Return label -> positive prompt -> (N,): each positive prompt alone against the mean of the negative ones.

    The spread of their AUROC is how much a result owes to the choice of words.
    """
    found: dict[str, dict[str, FloatArray]] = {}
    for each in prompts:
        negative = dots(images, class_vector(embed_text(each.negative))[None])[:, 0]
        near = dots(images, np.asarray(embed_text(each.positive)))
        found[each.label] = {t: pair_probability(near[:, i], negative, scale) for i, t in enumerate(each.positive)}
    return found


def uncertain_scores(
    images: np.ndarray, prompts: Sequence[PromptSet], embed_text: EmbedText, *, scale: float
) -> dict[str, FloatArray]:
    """Return label -> (N,): the share of "may be there" in a softmax with present and absent, where prompts say it.

    Example:
        >>> each = PromptSet("v1", "a", ("yes",), ("no",), (), ("maybe",))
        >>> vectors = {"yes": [1.0, 0.0, 0.0], "no": [0.0, 1.0, 0.0], "maybe": [0.0, 0.0, 1.0]}
        >>> embed = lambda texts: np.array([vectors[text] for text in texts])
        >>> uncertain_scores(np.eye(3)[:1], [each], embed, scale=1.0)["a"].round(3).tolist()
        [0.212]
    """
    found = {}
    for each in prompts:
        if each.uncertain:
            vectors = np.stack([class_vector(embed_text(t)) for t in (each.positive, each.negative, each.uncertain)])
            found[each.label] = softmax(scale * dots(images, vectors))[:, 2]
    return found
