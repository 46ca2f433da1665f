"""A question and a picture -> one of a closed list of answers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Encoder, Head
from medvlp.core.registry import FromModel
from medvlp.models.heads._cross_block import CrossBlock

__all__ = ["QuestionClassifier"]


class QuestionClassifier(Head):
    """The question's tokens look at each other and at the picture; their mean is mapped to a logit for each answer.

    Stage ``call``, because it reads two views. Fusion by cross-attention as in ALBEF (Li et al. 2021); a closed list of
    answers as in the first VQA models (Antol et al. 2015).

    Args:
        memory_width: W of what it reads of the picture, given by the builder.
        text: the text tower, given by the builder.
        answers: C, at least 2.
        reads: part of the picture: its tokens, or a pooler's vectors.
        width: of the blocks.
        layers: number of blocks.
        heads: attention heads; divides the width.
        mlp_ratio: width of the blocks' hidden layer over the width.
        dropout: of each residual branch.

    Raises:
        ConfigError: without a text tower, or if `heads` does not divide the width.
    """

    stage = "call"

    def __init__(
        self,
        *,
        memory_width: Annotated[int, FromModel("width")],
        answers: Annotated[int, Field(ge=2)],
        text: Annotated[Encoder | None, FromModel("text")] = None,
        reads: str = "tokens",
        width: Annotated[int, Field(ge=1)] = 192,
        layers: Annotated[int, Field(ge=1)] = 2,
        heads: Annotated[int, Field(ge=1)] = 4,
        mlp_ratio: Annotated[float, Field(gt=0)] = 4.0,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__()
        if text is None:
            raise ConfigError("A question needs a text tower that reads it, and the model has none: give it one.")
        self.reads = (reads,)
        self.norm_image = nn.LayerNorm(memory_width)
        self.enter = nn.Linear(text.token_width, width)
        self.blocks = nn.ModuleList(
            CrossBlock(
                width=width,
                context_width=memory_width,
                heads=heads,
                mlp_ratio=mlp_ratio,
                dropout=dropout,
                causal=False,
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, answers)

    def forward_logits(self, memory: Tensor, mask: Tensor | None, words: Tensor, word_mask: Tensor) -> Tensor:
        """Return logits (R, C).

        Args:
            memory: (R, N, W) of the picture.
            mask: (R, N) bool, True where the memory is real; None: all of it.
            words: (R, L, W') the question's tokens.
            word_mask: (R, L) bool, at least one True a row.
        """
        image, words = self.norm_image(memory), self.enter(words)
        for block in self.blocks:
            words = block(words, image, mask, word_mask=word_mask)
        weight = word_mask.to(words.dtype)[:, :, None]
        return self.output((self.norm(words) * weight).sum(dim=1) / weight.sum(dim=1))
