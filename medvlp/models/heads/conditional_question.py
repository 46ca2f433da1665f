"""Closed and open questions answered by networks of their own, as QCR does."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Encoder
from medvlp.core.registry import FromModel
from medvlp.models.heads._question_head import BilinearAttention, QuestionHead, answer_network

__all__ = ["ConditionalQuestion", "QuestionVector"]

_NEVER = -1e4  # a logit whose probability and gradient are exactly 0, and finite in half precision


class QuestionVector(nn.Module):
    """A question as one vector: a GRU, gated attention over its words, and a network (Zhan et al. 2020, eq. 1 to 4).

    Args:
        in_width: of the words.
        width: of the GRU.
        layers: widths of the network's layers, the last of which it returns.
    """

    def __init__(self, *, in_width: int, width: int, layers: tuple[int, ...]) -> None:
        super().__init__()
        self.words = nn.GRU(in_width, width, batch_first=True)
        self.tanh, self.gate = nn.Linear(in_width + width, width), nn.Linear(in_width + width, width)
        self.weight = nn.Linear(width, 1, bias=False)  # of a softmax, which feels none
        self.network = nn.ModuleList(nn.Linear(a, b) for a, b in zip((width, *layers), layers, strict=False))

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        """Return (R, layers[-1]) of words (R, L, W) and their mask (R, L) bool, at least one True a row."""
        states = self.words(words)[0]
        both = torch.cat([words, states], dim=2)
        weight = self.weight(self.tanh(both).tanh() * self.gate(both).sigmoid())[:, :, 0]
        weight = weight.masked_fill(~mask, -torch.inf).softmax(dim=1)
        vector = (weight[:, :, None] * states).sum(dim=1)
        for at, layer in enumerate(self.network):
            vector = layer(vector.relu() if at else vector)
        return vector


class ConditionalQuestion(QuestionHead):
    """Question-conditioned reasoning: bilinear attention and classifier of closed questions, others of open ones.

    Both share the GRU over words. What is fused is multiplied by a vector made of the question, and a router that reads
    the question alone tells which of the two answers (Zhan et al. 2020; PubMedCLIP, Eslami et al. 2023). All answers of
    the other kind get a logit of no weight. The router's gradient does not reach the text tower.

    Args:
        answers: C, at least 2.
        closed: how many of the list, its first, answer closed questions; the others answer open ones.
        reads: part of the image, see `BilinearQuestion`.
        width: W of the words; 1024 as published.
        glimpses: number of attention maps; 10 in QCR.
        dropout: in the fusion and in front of the last layer.

    Raises:
        ConfigError: without a text tower, or if no answer is left for open questions.
    """

    def __init__(
        self,
        *,
        memory_width: Annotated[int, FromModel("width")],
        answers: Annotated[int, Field(ge=2)],
        closed: Annotated[int, Field(ge=1)],
        text: Annotated[Encoder | None, FromModel("text")] = None,
        reads: str = "tokens",
        width: Annotated[int, Field(ge=1)] = 1024,
        glimpses: Annotated[int, Field(ge=1)] = 10,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5,
    ) -> None:
        super().__init__(answers=answers, text=text, reads=reads)
        if closed >= answers:
            raise ConfigError(
                f"closed is {closed} of {answers} answers, so that none is left for open questions: list answers of "
                f"both kinds, closed ones first, or take bilinear_question."
            )
        self.closed = closed
        self.words = nn.GRU(self.word_width, width, batch_first=True)
        self.router = QuestionVector(in_width=self.word_width, width=width, layers=(256, 64, 1))
        self.condition = QuestionVector(in_width=self.word_width, width=width, layers=(2 * width, width, width))
        self.fusions = nn.ModuleList(
            BilinearAttention(image_width=memory_width, width=width, glimpses=glimpses, dropout=dropout)
            for _ in range(2)
        )
        self.outputs = nn.ModuleList(
            answer_network(width=width, answers=count, dropout=dropout) for count in (closed, answers - closed)
        )

    def closed_logit(self, words: Tensor, word_mask: Tensor) -> Tensor:
        """Return the router's logit (R,) that a question is closed."""
        return self.router(words.detach(), word_mask)[:, 0]

    def forward_logits(
        self, memory: Tensor, mask: Tensor | None, words: Tensor, word_mask: Tensor, closed: Tensor | None = None
    ) -> Tensor:
        """See `QuestionHead`.

        Args:
            memory: (R, N, W) of the image.
            mask: (R, N) bool, or None.
            words: (R, L, W') the question's tokens.
            word_mask: (R, L) bool.
            closed: (R,) bool, True for closed questions; None: as the router tells.
        """
        closed = self.closed_logit(words, word_mask) > 0 if closed is None else closed
        states, condition = self.words(words)[0], self.condition(words, word_mask)
        # Both networks see all rows, so that none is without a gradient where a chunk holds one kind alone.
        logits = [
            output(fusion(memory, mask, states, word_mask) * condition).masked_fill(~asked[:, None], _NEVER)
            for fusion, output, asked in zip(self.fusions, self.outputs, (closed, ~closed), strict=True)
        ]
        return torch.cat(logits, dim=1)
