"""A question and a picture -> one of a closed list of answers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from medvlp.core.protocols import Encoder
from medvlp.core.registry import FromModel
from medvlp.models.encoders._blocks import CrossBlock
from medvlp.models.heads._question_head import QuestionHead


class QuestionClassifier(QuestionHead):
    """The question's tokens look at each other and at the picture; their mean is mapped to a logit for each answer.

    Fusion by cross-attention as in ALBEF (Li et al. 2021); a closed list of
    answers as in the first VQA models (Antol et al. 2015).

    Args:
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
        super().__init__(answers=answers, text=text, reads=reads)
        self.norm_image = nn.LayerNorm(memory_width)
        self.enter = nn.Linear(self.word_width, width)
        self.blocks = nn.ModuleList(
            CrossBlock(
                width=width, context_width=memory_width, heads=heads, mlp_ratio=mlp_ratio, dropout=dropout, causal=False
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, answers)

    def forward_logits(self, memory: Tensor, mask: Tensor | None, words: Tensor, word_mask: Tensor) -> Tensor:
        """See `QuestionHead`."""
        image, words = self.norm_image(memory), self.enter(words)
        for block in self.blocks:
            words = block(words, image, mask, word_mask=word_mask)
        weight = word_mask.to(words.dtype)[:, :, None]
        return self.output((self.norm(words) * weight).sum(dim=1) / weight.sum(dim=1))
