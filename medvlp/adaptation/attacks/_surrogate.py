"""What attacks ask of a surrogate: embeddings with gradients for the pixels and none for its weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from medvlp.core.errors import DataError
from medvlp.core.keys import Plan, keys
from medvlp.core.modes import evaluating
from medvlp.core.protocols import Model
from medvlp.core.sample import Batch, Column, Tokens


@contextmanager
def held(model: Model) -> Iterator[None]:
    """Hold a model in evaluation mode with weights that ask for no gradient, and allow gradients of its inputs.

    Modes and weights are as before afterwards.
    """
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    with evaluating(model), torch.inference_mode(False), torch.enable_grad():
        for weight in learning:
            weight.requires_grad_(False)
        try:
            yield
        finally:
            for weight in learning:
                weight.requires_grad_(True)


def parts_of(model: Model, batch: Batch, view: str, *parts: str) -> list[Tensor]:
    """Return float32 parts of one view of a batch, a row a sample."""
    plan = Plan.of(keys(*(f"{view}/{part}" for part in parts)))
    rows = model.finish(model(batch, plan), plan)[view]
    return [rows.part(part).float() for part in parts]


def pixels_of(batch: Batch) -> Tensor:
    """Return a copy of the images (B, C, H, W), float32, one a sample.

    Raises:
        DataError: if a sample has none or several.
    """
    column = batch.columns.get("image")
    if column is None or not isinstance(column.values, Tensor) or column.owner.tolist() != list(range(batch.size)):
        raise DataError("An attack moves pixels of one image a sample: leave out records without one.")
    return column.values.detach().clone().float()


def with_pixels(batch: Batch, pixels: Tensor) -> Batch:
    """Return the batch with other images, one a sample, where its own are; their graph stays."""
    column = batch["image"]
    return batch.with_columns({"image": replace(column, values=pixels.to(column.owner.device))})


def with_texts(batch: Batch, texts: Sequence[str], tokens: dict[str, Tokens] | None = None) -> Batch:
    """Return the batch with other texts, one a sample, and their tokens where they are known."""
    owner = torch.arange(batch.size, device=batch.device)
    return batch.with_columns({"text": Column(tuple(texts), owner, tokens=tokens or {})})


@dataclass(frozen=True)
class Seen:
    """Batches on the surrogate's device, with the clean embeddings of all of their samples.

    Attributes:
        batches: as given.
        image: (N, D) unit rows.
        text: (N, D) unit rows.
        texts: N.
    """

    batches: list[Batch]
    image: Tensor
    text: Tensor
    texts: list[str]

    def rows(self) -> Iterator[tuple[Batch, slice]]:
        """Yield each batch with the place of its samples among all."""
        first = 0
        for batch in self.batches:
            yield batch, slice(first, first + batch.size)
            first += batch.size


@torch.no_grad()
def embedded(model: Model, batches: Sequence[Batch]) -> Seen:
    """Embed batches once; called while the model is `held`.

    Raises:
        DataError: if there is no sample, or one lacks its image or text.
    """
    moved = [with_pixels(each, pixels_of(each)).to(next(model.parameters()).device) for each in batches if each.size]
    texts = [text for each in moved for text in each.strings("text")]
    if not texts or not all(text.strip() for text in texts):
        raise DataError("An attack is fitted on samples with one image and one text each: leave out those without.")
    image, text = (torch.cat([parts_of(model, e, view, "embedding")[0] for e in moved]) for view in ("image", "text"))
    if len(text) != len(image):
        raise DataError("An attack is fitted on samples with one text each: join the texts of those with several.")
    return Seen(moved, image, text, texts)
