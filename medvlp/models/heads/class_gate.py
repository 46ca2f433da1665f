"""Gates of SimLAP: which coordinates count when rows of two classes are compared."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel
from medvlp.models.encoders._blocks import zeroed


class ClassGate(Head):
    r"""g(a, b) = sigmoid(MLP((E_a + E_b) / 2)) in (0, 1)^D, at stage ``call``: the same for (a, b) and (b, a).

    The MLP is ReLU, norm, Linear, ReLU, norm, Linear. Its norms are LayerNorm where the authors' are BatchNorm, so that
    the gate of two classes does not depend on who else is in the batch. The last layer starts at zero: every gate is
    1/2, and the gated cosine the plain one.

    Args:
        width: D, of the rows that are compared; the hidden layer has 4 D.
        classes: number of learned vectors E, each of 2 D; None: they are given, embeddings of a bank's texts.

    References:
        The gate of Hydra (SimLAP), with D = 256.

    Example:
        >>> gate = ClassGate(embed_dim=4, width=2, classes=3)
        >>> first, second = torch.eye(3)[:1], torch.eye(3)[1:2]
        >>> gate.between(first, second).tolist(), torch.equal(gate.between(first, second), gate.between(second, first))
        ([[0.5, 0.5]], True)
    """

    reads = ()
    stage = "call"

    def __init__(
        self,
        *,
        embed_dim: Annotated[int, FromModel("embed_dim")],
        width: Annotated[int, Field(ge=1)] = 256,
        classes: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        super().__init__()
        inputs = embed_dim if classes is None else 2 * width
        self.vectors = None if classes is None else nn.Parameter(torch.randn(classes, inputs))
        first = [nn.ReLU(), nn.LayerNorm(inputs), nn.Linear(inputs, 4 * width)]
        self.body = nn.Sequential(*first, nn.ReLU(), nn.LayerNorm(4 * width))
        self.last = zeroed(nn.Linear(4 * width, width))

    def between(self, one: Tensor, other: Tensor, vectors: Tensor | None = None) -> Tensor:
        """Return the gates of R pairs, (R, D).

        Args:
            one: (R, K) shares of the classes in the first of each pair; rows sum to 1.
            other: the same of the second.
            vectors: (K, embed_dim), where they are not learned.
        """
        vectors = self.vectors if vectors is None else vectors
        assert vectors is not None, "whoever has none of its own is given some"
        return torch.sigmoid(self.last(self.body((one + other) / 2 @ vectors)))


def gated_cosine(rows: Tensor, gates: Tensor, columns: Tensor) -> Tensor:
    """Return cos(g_i * a_i, g_i * b_j), (R, C), of rows a (R, D) with gates g (R, D) and columns b (C, D).

    Example:
        >>> gates = torch.tensor([[1.0, 0.0]])
        >>> gated_cosine(torch.tensor([[1.0, 5.0]]), gates, torch.tensor([[2.0, -3.0]])).tolist()
        [[1.0]]
    """
    squared = gates.square()
    own = (squared * rows.square()).sum(dim=1, keepdim=True)
    lengths = own * (squared @ columns.square().T)
    return (squared * rows) @ columns.T * torch.where(lengths > 1e-24, lengths, torch.inf).rsqrt()
