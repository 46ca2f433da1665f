"""What a zero-shot recipe is: stored features of images and prompts in, one score a finding out.

A recipe sees no model and no files, so that it can be checked by hand, run on stored embeddings and hashed. Every
number of an image is computed from that image's row alone, by the same additions in the same order wherever the row
stands (a matrix product is not: its rounding depends on the number of rows), so that a score is bit for bit the same
whoever lies beside it. A recipe whose *formula* looks at the other images says so in `batch_dependent`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from medvlp.core.errors import ConfigError, DataError
from medvlp.text.prompts import PromptSet

FloatArray = NDArray[np.float64]
Scale = float | Literal["model"]
Factor = Annotated[float, Field(gt=0)] | Literal["model"]


@dataclass(frozen=True)
class Given:
    """The input of a recipe: image features, text features and prompts.

    Attributes:
        prompts: one set a finding, in the order of the scores.
        images: part -> (N, ...) of the images: ``embedding`` (N, D), ``local`` (N, T, D) with ``mask`` (N, T), or the
            name of a head.
        words: the distinct texts.
        texts: part -> (W, ...) of the texts in that order.
        scale: the model's logit scale.
        bias: the model's logit bias; None where it has none.
        names: head -> what its second axis names: queries, organs.
    """

    prompts: tuple[PromptSet, ...]
    images: Mapping[str, np.ndarray]
    words: tuple[str, ...] = ()
    texts: Mapping[str, np.ndarray] = field(default_factory=dict)
    scale: float = 1.0
    bias: float | None = None
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """The findings."""
        return tuple(each.label for each in self.prompts)

    def image(self, part: str, *, whole: bool = True) -> np.ndarray:
        """Return a part of the images.

        Raises:
            DataError: if it was not stored, or is `whole` and holds NaN.
        """
        if part not in self.images:
            have = ", ".join(sorted(self.images)) or "nothing"
            raise DataError(f"The recipe reads the images' {part!r}, but there is {have}: embed it, or choose another.")
        if whole and self.images[part].dtype.kind == "f" and not np.isfinite(self.images[part]).all():
            raise DataError(f"The images' {part!r} holds NaN or infinite values: no score can be made of it.")
        return self.images[part]

    def text(self, part: str, texts: Sequence[str]) -> np.ndarray:
        """Return a part of some texts, (len(texts), ...).

        Raises:
            DataError: if the part or a text was not stored.
        """
        if part not in self.texts:
            have = ", ".join(sorted(self.texts)) or "nothing"
            raise DataError(f"The recipe reads the texts' {part!r}, but there is {have}: embed it, or choose another.")
        at = {word: i for i, word in enumerate(self.words)}
        missing = [text for text in texts if text not in at]
        if missing:
            raise DataError(f"The prompt {missing[0]!r} has no embedding: embed every text of the recipe.")
        return self.texts[part][[at[text] for text in texts]]

    def pair(self, prompts: PromptSet, weights: Sequence[float] | None = None) -> FloatArray:
        """Return (2, D): the class vectors of a finding's positive and of its negative prompts."""
        positive = class_vector(self.text("embedding", prompts.positive), weights)
        return np.stack([positive, class_vector(self.text("embedding", prompts.negative))])

    def scale_of(self, scale: Scale) -> float:
        """Return a scale: the model's own where it is asked for."""
        return self.scale if scale == "model" else float(scale)


class Recipe(ABC):
    """A zero-shot recipe: a component file of `medvlp.answers.recipes`.

    Attributes:
        name: as results state it.
        text_parts: parts of the texts that it reads.
        denials: whether it reads negative prompts.
    """

    name: ClassVar[str]
    text_parts: ClassVar[tuple[str, ...]] = ("embedding",)
    denials: ClassVar[bool] = True

    @property
    def image_parts(self) -> tuple[str, ...]:
        """Parts of the images that it reads."""
        return ("embedding",)

    @property
    def batch_dependent(self) -> bool:
        """Whether the score of an image depends on the other images that are scored with it."""
        return False

    def words(self, prompts: Sequence[PromptSet]) -> tuple[str, ...]:
        """Return the distinct texts to embed, sorted."""
        texts = [each.positive + (each.negative if self.denials else ()) for each in prompts]
        return tuple(sorted({text for some in texts for text in some}))

    @abstractmethod
    def scores(self, given: Given) -> FloatArray:
        """Return (N, F) scores; higher means present."""


def dots(rows: np.ndarray, vectors: np.ndarray) -> FloatArray:
    """Return (N, T) dot products of (N, D) and (T, D) in float64, each row by itself.

    Example:
        >>> dots(np.eye(2), np.array([[0.5, 0.25]])).tolist()
        [[0.5], [0.25]]
    """
    left = np.ascontiguousarray(rows, dtype=np.float64)
    right = np.ascontiguousarray(vectors, dtype=np.float64)
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
        raise DataError(f"Embeddings are {left.shape} and {right.shape}: both need one row each and the same width.")
    out = np.empty((len(left), len(right)))
    work = np.empty_like(left)
    for at, vector in enumerate(right):
        np.multiply(left, vector, out=work)
        out[:, at] = work.sum(axis=1)
    return out


def unit_rows(vectors: np.ndarray) -> FloatArray:
    """Return vectors (..., D) at unit length; a zero vector stays zero."""
    rows = np.ascontiguousarray(vectors, dtype=np.float64)
    length = np.sqrt((rows * rows).sum(axis=-1, keepdims=True))
    return rows / np.maximum(length, 1e-12)


def class_vector(vectors: np.ndarray, weights: Sequence[float] | None = None) -> FloatArray:
    """Return (D,): the weighted mean of unit vectors (P, D), at unit length (CLIP, Radford et al. 2021)."""
    rows = unit_rows(vectors)
    share = np.full(len(rows), 1.0 / len(rows)) if weights is None else np.asarray(weights, dtype=np.float64)
    if share.shape != (len(rows),) or (share < 0).any() or not share.sum() > 0:
        raise ConfigError(f"There are {len(rows)} prompts and the weights {share.tolist()}: give one, 0 or more, each.")
    return unit_rows((share[:, None] * rows).sum(axis=0))


def pair_probability(positive: np.ndarray, negative: np.ndarray | float, scale: float) -> FloatArray:
    """Return softmax over two similarities at the first: ``1 / (1 + exp(-scale (positive - negative)))``."""
    margin = scale * (np.asarray(positive, dtype=np.float64) - negative)
    return 1.0 / (1.0 + np.exp(-np.clip(margin, -700, 700)))


def softmax(logits: np.ndarray) -> FloatArray:
    """Return the softmax over the last axis in float64."""
    values = np.ascontiguousarray(logits, dtype=np.float64)
    high = np.exp(values - values.max(axis=-1, keepdims=True))
    return high / high.sum(axis=-1, keepdims=True)
