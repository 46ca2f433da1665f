"""What classifiers of answers to questions share: what they promise, the words that they read, bilinear attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

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


class BilinearAttention(nn.Module):
    r"""Fuse N vectors of an image and L words: one map over all N x L pairs for each glimpse, each adding to the words.

    With v_i the vectors, q_j the words and h_g a learned vector of each glimpse,

        A_g = softmax over (i, j) of  h_g . (relu(U v_i) * relu(V q_j)),
        q_j <- q_j + P_g sum_{i, j} A_g[i, j] relu(U_g v_i) * relu(V_g q_j),

    glimpse after glimpse, the maps from the first words; the sum of the words is returned (Kim et al. 2018, eq. 8 to
    10). The bias of a glimpse's logits is left out, since a softmax over all pairs does not feel it.

    Args:
        image_width: of the image's vectors.
        width: W of the words and of what is returned.
        glimpses: number of maps.
        dropout: of the image's side of the maps; what enters and leaves a glimpse has 0.2 where this is not 0.
    """

    def __init__(self, *, image_width: int, width: int, glimpses: int, dropout: float = 0.0) -> None:
        super().__init__()
        inner = 3 * width  # the rank of the maps, as published
        self.map_image, self.map_words = nn.Linear(image_width, inner), nn.Linear(width, inner)
        self.glimpses = nn.Parameter(torch.randn(glimpses, inner) / inner**0.5)
        self.images = nn.ModuleList(nn.Linear(image_width, width) for _ in range(glimpses))
        self.words = nn.ModuleList(nn.Linear(width, width) for _ in range(glimpses))
        self.outputs = nn.ModuleList(nn.Linear(width, width) for _ in range(glimpses))
        self.map_dropout, self.dropout = nn.Dropout(dropout), nn.Dropout(min(dropout, 0.2))

    def attention(self, image: Tensor, mask: Tensor | None, words: Tensor, word_mask: Tensor) -> Tensor:
        """Return the maps (R, G, N, L), each of sum 1; 0 where a vector or a word is padding.

        Args:
            image: (R, N, W').
            mask: (R, N) bool, True where `image` is real; None: all of it.
            words: (R, L, W).
            word_mask: (R, L) bool, at least one True a row.
        """
        seen = self.map_dropout(self.map_image(self.dropout(image)).relu())
        asked = self.map_words(self.dropout(words)).relu()
        logits = torch.einsum("gh,rnh,rlh->rgnl", self.glimpses, seen, asked)
        real = word_mask[:, None, None, :]
        real = real if mask is None else real & mask[:, None, :, None]
        return logits.masked_fill(~real, -torch.inf).flatten(2).softmax(dim=2).view_as(logits)

    def forward(self, image: Tensor, mask: Tensor | None, words: Tensor, word_mask: Tensor) -> Tensor:
        """Return (R, W), see `attention` for the arguments."""
        maps = self.attention(image, mask, words, word_mask)
        for glimpse, (see, ask, leave) in enumerate(zip(self.images, self.words, self.outputs, strict=True)):
            seen, asked = see(self.dropout(image)).relu(), ask(self.dropout(words)).relu()
            joint = torch.einsum("rnw,rnl,rlw->rw", seen, maps[:, glimpse], asked)
            words = words + leave(self.dropout(joint))[:, None]
        return (words * word_mask[:, :, None]).sum(dim=1)


def answer_network(*, width: int, answers: int, dropout: float) -> nn.Sequential:
    """Return W -> 2 W -> logits, weights normalised as a whole (Salimans and Kingma 2016)."""
    hidden, output = (
        weight_norm(each, dim=-1) for each in (nn.Linear(width, 2 * width), nn.Linear(2 * width, answers))
    )
    return nn.Sequential(hidden, nn.ReLU(), nn.Dropout(dropout), output)
