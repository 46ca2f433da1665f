"""What forms that are graphs have in common: modules from pixels or token ids to unit embeddings, and their sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medvlp.core.encoded import unit
from medvlp.core.errors import UserError
from medvlp.core.files import write_json
from medvlp.models.backends.engines import as_a_sentence
from medvlp.models.bundle import Bundle
from medvlp.models.patches._patch import acting

Run = Callable[[tuple[Tensor, ...]], Tensor]
_MOST_APART = 1e-3  # coordinates of unit embeddings, from torch; usual are 1e-6


@dataclass(frozen=True)
class Embedder:
    """One graph to be written.

    Attributes:
        name: ``image`` or ``text``.
        module: inputs -> unit embeddings (R, D).
        inputs: examples.
        names: of the inputs.
        sizes: which of their axes may have any length.
    """

    name: str
    module: nn.Module
    inputs: tuple[Tensor, ...]
    names: list[str]
    sizes: tuple[dict[int, Any], ...]


class _Image(nn.Module):
    def __init__(self, model: Any, kind: str) -> None:  # noqa: ANN401
        super().__init__()
        self.tower, self.head = model.towers[kind], model.heads[f"{kind}/raw"]
        for read in self.head.reads:
            if f"{kind}/{read}" in model.heads:
                raise UserError(
                    f"The form holds a tower and one head, and the head {kind}/raw of this model reads another, "
                    f"{kind}/{read}: it cannot be exported as a graph."
                )

    def forward(self, pixels: Tensor) -> Tensor:
        return unit(self.head(self.tower(pixels, parts=frozenset(self.head.reads)), "raw")["raw"])


class _Text(_Image):
    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:  # pyrefly: ignore
        return unit(self.head(self.tower(ids, parts=frozenset(self.head.reads), mask=mask), "raw")["raw"])


def embedders(bundle: Bundle) -> Iterator[Embedder]:
    """Yield the graph of pictures, and that of texts where the model reads any.

    Raises:
        UserError: if the model is of volumes, has patches or heads that read heads, or does not tell the size of its
            pictures.
    """
    model: Any = bundle.model
    if model.vision_kind != "image" or acting(model):
        raise UserError("The form holds a plain model of images: one of volumes, or with patches, has no place there.")
    rows = torch.export.Dim("rows", min=1)
    pixels = torch.rand(2, *_shape(model), generator=torch.Generator().manual_seed(0))
    yield Embedder("image", _Image(model, "image").eval(), (pixels,), ["pixels"], ({0: rows},))
    if model.reads_text:
        ids = torch.randint(0, model.tokenizer.vocab_size, (2, 12), generator=torch.Generator().manual_seed(0))
        mask = torch.arange(12)[None] < torch.tensor([[12], [7]])
        sizes = {0: rows, 1: torch.export.Dim("length", min=2, max=model.tokenizer.max_length)}
        yield Embedder("text", _Text(model, "text").eval(), (ids, mask), ["ids", "mask"], (sizes, sizes))


def _shape(model: Any) -> tuple[int, int, int]:  # noqa: ANN401
    """Return (C, H, W) of the pictures of a model."""
    tower = model.towers["image"]
    if not (hasattr(tower, "channels") and hasattr(tower, "image_size")):
        raise UserError(
            f"The form is made for pictures of one size, and {type(tower).__name__}, the tower of images, tells none: "
            "give it the attributes channels and image_size."
        )
    return tower.channels, tower.image_size, tower.image_size


def write_graphs(bundle: Bundle, folder: Path, write: Callable[[Embedder], Run]) -> None:
    """Write each graph, the tokenizer, and ``embedding.json``: sizes, scale and bias of logits, parity.

    Args:
        bundle: the model.
        folder: where.
        write: writes one graph and returns what runs what was written.

    Raises:
        UserError: if a tower has no graph, or its graph gives other embeddings.
    """
    model: Any = bundle.model
    with torch.no_grad():
        graphs = list(embedders(bundle))
        facts: dict[str, Any] = {"pixels": list(graphs[0].inputs[0].shape[1:])}
        facts["scale"] = model.logit_scale.value.item()
        if model.logit_scale.bias is not None:
            facts["bias"] = model.logit_scale.bias.item()
        for each in graphs:
            with as_a_sentence("The form", mend=f"leave the model of this {each.name} tower in its bundle"):
                run = write(each)
            more = tuple(torch.cat([example, example.flip(0), example]) for example in each.inputs)
            apart = facts[f"{each.name}_parity"] = float((run(more) - each.module(*more)).abs().max())
            if not apart <= _MOST_APART:
                raise UserError(
                    f"The form embeds the example of this {each.name} tower otherwise than torch, {apart:.2g} apart: "
                    "leave the model in its bundle."
                )
    if model.reads_text:
        model.tokenizer.save(folder / "tokenizer")
    write_json(folder / "embedding.json", facts)
