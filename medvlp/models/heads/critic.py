"""Token ids -> whether a radiologist wrote them: the discriminator of CgT-GAN."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel
from medvlp.models.encoders._blocks import Trunk, embeddings_of, refuse_heads


class Critic(Head):
    """A small transformer over the words of a text, the mean of its last states, and one logit; at stage ``call``.

    The paper's is a pretrained RoBERTa with a perceptron; this one starts afresh, as reports are a narrow language.

    Args:
        width: of its word embeddings.
        layers: number of blocks.
        heads: of their attention; divides the width.
        max_length: longest text.

    Raises:
        ConfigError: if `heads` does not divide the width; by a longer text.

    References:
        Yu et al. 2023 (CgT-GAN), the discriminator.

    Example:
        >>> import torch
        >>> critic = Critic(vocab_size=10, width=8, heads=2)
        >>> critic.logits(torch.tensor([[1, 2, 0]]), torch.tensor([[True, True, False]])).shape
        torch.Size([1])
    """

    reads = ()
    stage = "call"

    def __init__(
        self,
        *,
        vocab_size: Annotated[int, FromModel("vocab_size")],
        width: Annotated[int, Field(ge=1)] = 128,
        layers: Annotated[int, Field(ge=1)] = 1,
        heads: Annotated[int, Field(ge=1)] = 4,
        max_length: Annotated[int, Field(ge=1)] = 512,
    ) -> None:
        super().__init__()
        refuse_heads(heads, width)
        self.word, self.position = embeddings_of(vocab_size, width=width, length=max_length)
        self.trunk = Trunk(width=width, layers=layers, heads=heads)
        self.output = nn.Linear(width, 1)

    def logits(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return (R,) of texts (R, L) whose real tokens `mask` (R, L) tells; above 0 is real."""
        if ids.shape[1] > len(self.position):
            raise ConfigError(f"The critic reads {len(self.position)} words, not {ids.shape[1]}: raise its max_length.")
        words = self.word(ids) + self.position[: ids.shape[1]]
        states = self.trunk(words, mask, layers=False, attention=False).tokens
        weight = mask.to(states.dtype)[:, :, None]
        return self.output((states * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1))[:, 0]
