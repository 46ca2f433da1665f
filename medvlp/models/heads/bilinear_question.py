"""A question answered from a list by bilinear attention, as MEVF and PubMedCLIP do."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from medvlp.core.protocols import Encoder
from medvlp.core.registry import FromModel
from medvlp.models.heads._question_head import BilinearAttention, QuestionHead, answer_network


class BilinearQuestion(QuestionHead):
    """Words through a GRU, fused with the image by bilinear attention, summed, and a network of one hidden layer.

    The head of MEVF (Nguyen et al. 2019) in which PubMedCLIP (Eslami et al. 2023) replaces the visual encoder: there
    the image is one vector, and each map is a softmax over words. The GRU stands on the text tower's tokens in place of
    GloVe vectors.

    Args:
        answers: C, at least 2.
        reads: part of the image: its ``tokens``, or one vector such as ``pooled`` or what a head gives.
        width: W of the words; 1024 as published.
        glimpses: number of attention maps; 2 in MEVF.
        dropout: in the fusion and in front of the last layer.

    Raises:
        ConfigError: without a text tower.
    """

    def __init__(
        self,
        *,
        memory_width: Annotated[int, FromModel("width")],
        answers: Annotated[int, Field(ge=2)],
        text: Annotated[Encoder | None, FromModel("text")] = None,
        reads: str = "tokens",
        width: Annotated[int, Field(ge=1)] = 1024,
        glimpses: Annotated[int, Field(ge=1)] = 2,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5,
    ) -> None:
        super().__init__(answers=answers, text=text, reads=reads)
        self.words = nn.GRU(self.word_width, width, batch_first=True)
        self.fusion = BilinearAttention(image_width=memory_width, width=width, glimpses=glimpses, dropout=dropout)
        self.output = answer_network(width=width, answers=answers, dropout=dropout)

    def forward_logits(self, memory: Tensor, mask: Tensor | None, words: Tensor, word_mask: Tensor) -> Tensor:
        """See `QuestionHead`."""
        return self.output(self.fusion(memory, mask, self.words(words)[0], word_mask))
