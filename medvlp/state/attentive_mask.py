"""Attentive masking (SyCoCa): pictures whose patches are hidden that are most like their report."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.core.modes import evaluating
from medvlp.core.protocols import Model, State
from medvlp.core.randomness import hashed_uniform
from medvlp.core.registry import FromModel
from medvlp.core.sample import Batch, Column
from medvlp.models.projected import projected, refuse_unprojected


class AttentiveMask(State):
    r"""Before each step it adds to the batch how like its report each patch is, and the picture without the likest.

    The relevance of a token x_n of a picture is cos(P x_n, t), t the embedding of its sample's first text and P the
    picture's projection, by the model as it is, without gradient. The round(`ratio` N) tokens with the largest are
    hidden: their pixels become the picture's mean. The price is one more pass of both towers, without gradient. Fields:
    ``image.masked``; ``vector.relevance`` (N,); ``vector.hidden`` (N,), 1 where hidden. A picture without a text keeps
    all of its patches.

    Args:
        image: field of the pictures.
        text: field of their texts.
        ratio: share of the patches that is hidden.
        by: ``relevance``, or ``chance``: drawn for each sample, what attentive masking is compared with.
        seed: of chance.

    Raises:
        ConfigError: if the tower's tokens form no grid, or its projection does not take them.

    References:
        Ma et al. 2024 (SyCoCa), attentive masking, as known from its abstract and summaries; the ratio, and which
        similarity ranks patches, are choices of this project and not checked against the authors' code.

    Note:
        What is most like the report of a normal picture is no finding: there the mask hides what the words name, such
        as lungs and heart, and what it teaches is the usual anatomy.

    Example:
        >>> AttentiveMask(ratio=0.25).fields()
        ('image.masked', 'vector.relevance', 'vector.hidden')
    """

    encodes_in_steps = True

    def __init__(
        self,
        *,
        image: str = "image",
        text: str = "text",
        ratio: Annotated[float, Field(ge=0, lt=1)] = 0.5,
        by: Literal["relevance", "chance"] = "relevance",
        seed: int = 0,
        model: Annotated[nn.Module | None, FromModel("model")] = None,
    ) -> None:
        self.image, self.text = image, text
        self.ratio, self.by, self.seed = ratio, by, seed
        self._model = model
        if isinstance(model, Model):
            refuse_unprojected(model)

    def fields(self) -> tuple[str, ...]:
        """The masked pictures, and the relevance and the hiding of their patches."""
        return (f"{self.image}.masked", "vector.relevance", "vector.hidden")

    def extend(self, batch: Batch) -> Batch:
        """Return the batch with the fields; as it is if it has no picture or no text."""
        if not isinstance(self._model, Model) or self.image not in batch or self.text not in batch:
            return batch
        pixels, owner = batch[self.image].values, batch[self.image].owner
        assert isinstance(pixels, Tensor), "pictures are tensors"
        plan = Plan.of(keys(f"{self.image}/tokens", f"{self.text}/embedding"))
        with evaluating(self._model), torch.no_grad():
            rows = self._model.finish(self._model(batch, plan), plan)
        seen, texts = rows[self.image], rows[self.text]
        if seen.grid is None or len(seen.grid) != 2:
            raise ConfigError("State 'attentive_mask' hides cells of a grid, and this tower's tokens form none.")
        tokens = projected(self._model, seen.part("tokens"))
        same = owner[:, None] == texts.owner[None]
        text, has_text = same.int().argmax(dim=1), same.any(dim=1)
        relevance = (tokens @ texts.part("embedding")[text][:, :, None])[:, :, 0]
        marks = relevance if self.by == "relevance" else self._chance(batch, owner, tokens.shape[1]).to(relevance)
        hidden = most(marks, self.ratio) & has_text[:, None]
        cells = hidden.view(-1, 1, *seen.grid).to(pixels.dtype)
        cover = nn.functional.interpolate(cells, size=pixels.shape[-2:], mode="nearest") > 0
        masked = torch.where(cover, pixels.mean(dim=(1, 2, 3), keepdim=True), pixels)
        made = zip(self.fields(), (masked, relevance, hidden.to(pixels.dtype)), strict=True)
        return batch.with_columns({name: Column(values, owner) for name, values in made})

    def _chance(self, batch: Batch, owner: Tensor, count: int) -> Tensor:
        draws = hashed_uniform(self.seed, "attentive mask", count, batch.positions.numpy())
        return torch.from_numpy(draws)[owner.cpu()].to(owner.device)

    def state_dict(self) -> dict[str, Tensor]:
        """Nothing: all is made anew at each step."""
        return {}

    def load_state_dict(self, tensors: object) -> None:
        """Nothing to restore."""


def most(values: Tensor, share: float) -> Tensor:
    """Return which of (R, N) values are among the round(share N) largest of their row.

    Example:
        >>> most(torch.tensor([[0.1, 0.9, 0.5, 0.2]]), 0.5).tolist()
        [[False, True, True, False]]
    """
    order = values.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return order < round(share * values.shape[1])
