"""CLOSE (Gu et al. 2023): a writer learns from embeddings of texts with noise, and then reads those of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import AnswerSpec, HeadSpec, Objective
from medvlp.core.term import Terms
from medvlp.models._draws import normal_of
from medvlp.models.heads._speaker import Speaker
from medvlp.objectives._rows import first_of
from medvlp.objectives._written import head_of, next_token


class Close(Objective):
    r"""Each text is written from its own embedding x: u(x + n), n ~ N(0, s^2) in each of D numbers, u at unit length.

    L = - sum_{l >= 1} log p(w_l | w_{<l}, u(x + n)) over all texts, divided by the number of predicted tokens. No
    picture takes part. The released answer puts the embedding of a picture in the place of x, without noise: that works
    as far as noise has made the writer deaf to how pictures lie beside texts. E cos(x, u(x + n)) is about
    (1 + D s^2)^{-1/2}, so that of a model whose pictures and texts have the mean cosine c
    s = ((1 / c^2 - 1) / D)^{1/2} is a first guess. The towers are held: ``trainable: [model.heads.captioner.*]``.

    Args:
        text: view that is read.
        target: view whose words are written, where it is another text of the sample: each is written from the first
            vector of its sample; None: the same.
        std: s, 0.04 to 0.14 for the D = 768 of the paper, more for smaller D.
        copies: vectors that are read, each with noise of its own; the paper has one.
        decoder: head that writes, with its options: ``{name: limber, prompt: vector, path: ...}`` for a language model.
            A `generator` that is given one vector has nothing to choose from, and its queries learn nothing.
        head: name under which it is mounted.

    Returns:
        ``next_token``.

    References:
        Gu et al. 2023, "I can't believe there's no images!", section 3.2, Gaussian noise.

    Note:
        A writer of texts has never seen a picture: of what lies between the two towers, such as a side that the
        pictures' tower does not see, it writes what is usual. Read its reports back before anybody reads them.

    Example:
        >>> sorted(map(str, Close().needs())), Close().answers()[0].options["reads"]
        (['text/embedding', 'text/ids', 'text/mask'], 'image/embedding')
    """

    scope: Literal["batch", "sample"] = "sample"
    answer: str = "report"

    def __init__(
        self,
        *,
        text: str = "text",
        target: str | None = None,
        std: Annotated[float, Field(ge=0)] = 0.08,
        copies: Annotated[int, Field(ge=1)] = 1,
        decoder: Mapping[str, Any] = {},
        head: str = "captioner",
    ) -> None:
        super().__init__()
        self.text, self.target = text, target or text
        self.std, self.copies = std, copies
        self.decoder = head_of(decoder, "embedding")
        self.head = head

    def needs(self) -> frozenset[Key]:
        """The embedding that is read, and the words that are written."""
        return keys(f"{self.text}/embedding", f"{self.target}/ids", f"{self.target}/mask")

    def heads(self) -> Mapping[str, HeadSpec]:
        """The writer."""
        return {self.head: self.decoder}

    def answers(self) -> Sequence[AnswerSpec]:
        """A report of a picture."""
        return (AnswerSpec(self.answer, {"head": self.head, "reads": "image/embedding"}),)

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        read, written = f"{self.text}/embedding", f"{self.target}/ids"
        owner = ctx.owner(written)
        own = torch.arange(len(owner), device=owner.device)
        row = own if self.target == self.text else first_of(ctx.owner(read), owner)
        there = row >= 0
        ids, mask = ctx[written][there], ctx[f"{self.target}/mask"][there]
        # Of a sample all texts have the same noise: a draw belongs to the sample.
        draws = ctx.uniform(2 * self.copies * ctx[read].shape[1], name="close")[owner[there]]
        memory = noisy(ctx[read][row[there]], draws, std=self.std)
        logits = cast("Speaker", ctx.heads[self.head]).forward_logits(memory, None, ids)
        return {"next_token": next_token(logits, ids, mask)}


def noisy(vectors: Tensor, draws: Tensor, *, std: float) -> Tensor:
    """Return (R, C, D): C copies of (R, D) unit vectors, each with noise of its own, at unit length again.

    Args:
        vectors: (R, D).
        draws: (R, 2 C D) uniform in [0, 1).
        std: of the noise in each number.

    Example:
        >>> import torch
        >>> noisy(torch.tensor([[3.0, 4.0]]), torch.rand(1, 8), std=0.0)[0].tolist()
        [[0.6000000238418579, 0.800000011920929], [0.6000000238418579, 0.800000011920929]]
    """
    normal = normal_of(draws.to(vectors.dtype))
    return unit(unit(vectors)[:, None] + std * normal.unflatten(1, (-1, vectors.shape[1])))
