"""What every classifier of answers to questions promises, and the words that it reads."""

from __future__ import annotations

from torch import Tensor

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Encoder, Head


class QuestionHead(Head):
    """A head of stage ``call`` that maps an image's vectors and a question's tokens to a logit for each answer.

    Attributes:
        answers: C, how many logits it gives.
        word_width: W' of the question's tokens.
    """

    stage = "call"
    answers: int

    def __init__(self, *, answers: int, text: Encoder | None, reads: str) -> None:
        super().__init__()
        if text is None:
            raise ConfigError("A question needs a text tower that reads it, and the model has none: give it one.")
        self.reads = (reads,)
        self.answers, self.word_width = answers, text.token_width

    def forward_logits(self, memory: Tensor, mask: Tensor | None, words: Tensor, word_mask: Tensor) -> Tensor:
        """Return logits (R, C).

        Args:
            memory: (R, N, W) of the image.
            mask: (R, N) bool, True where the memory is real; None: all of it.
            words: (R, L, W') the question's tokens.
            word_mask: (R, L) bool, at least one True a row; padding comes last.
        """
        raise NotImplementedError
