"""MeDSLIP's image branch (Fan et al. 2024, arXiv 2403.10635): tokens part into pathology and anatomy.

A gate parts each token into two streams; in each, a decoder asks with the entries of a book of texts. The product of an
anatomy's and a pathology's vector says whether the one lies at the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core import collectives
from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel
from medvlp.models.bank import Bank
from medvlp.models.encoders._blocks import refuse_heads
from medvlp.models.heads._query_decoder import Decoded, QueryDecoder, book_of, decoder_layer

__all__ = ["DualStream", "Streams"]


@dataclass(frozen=True)
class Streams:
    """The same of both streams."""

    pathology: Tensor
    anatomy: Tensor


class DualStream(Head):
    r"""Gate, two streams and two query decoders over image tokens x (R, N, W).

    With E_p (P, D) and E_a (A, D) the constant vectors of the two books, and s in {p, a}::

        m = W_m x + b_m                       a gate of any sign; with ``gate: sigmoid`` between 0 and 1
        x_p = m * x,  x_a = (1 - m) * x       they add up to x
        h_s = W2_s relu(W1_s x_s)             (R, N, width)
        F_s = decoder_s(W_q E_s + b_q, h_s)   (R, P or A, width); one linear map for both books

    Mounted as ``image/NAME`` it gives, of the F_s and, with a dropout that the first two share, of F~_s:

    - ``NAME``: F_a F_p^T (R, A, P), logits of "pathology p lies at anatomy a";
    - ``NAME_pathology`` (R, P, 2) and ``NAME_anatomy`` (R, A, 2): logits of (absent, present), linear in F~_s;
    - ``NAME_pathology_text`` (R, P, D) and ``NAME_anatomy_text`` (R, A, D): F~_s in the space of the books, linear;
    - ``NAME_pathology_features`` (R, P, width) and ``NAME_anatomy_features`` (R, A, width): F_s.

    All matrices start as N(0, std), those of the attentions included. The published 0.02 goes with 1024 channels; with
    64 a layer would pass on 0.16 of what it reads: there set 0.08. The books' vectors are saved with the weights, and a
    checkpoint that was made with others is refused. So is how often each entry and pair was stated absent and present
    in training (`note`): what was never both was never learnt (`known`).

    Args:
        pathology: bank with the vectors of the pathologies.
        anatomy: bank with those of the anatomies.
        width: of streams and queries.
        hidden: width of the streams' hidden layer; None: W.
        layers: of each decoder.
        heads: of its attentions; divides the width.
        feedforward: width of its networks' hidden layer.
        dropout: in the decoders and of F~.
        gate: ``linear`` as published, or ``sigmoid``.
        std: of the first matrices.

    Raises:
        ConfigError: if a bank is missing or has no vectors, the two differ in width, or `heads` do not divide one.

    Example:
        >>> books = {n: Bank(n, tuple("abc"[:k]), torch.rand(k, 6)) for n, k in (("pathology", 3), ("anatomy", 2))}
        >>> head = DualStream(token_width=8, banks=books, width=4, layers=1, heads=2, feedforward=8)
        >>> rows = Encoded(owner=torch.arange(2), tokens=torch.rand(2, 5, 8), mask=torch.ones(2, 5, dtype=torch.bool))
        >>> head(rows, "m")["m"].shape
        torch.Size([2, 2, 3])
    """

    reads = ("tokens", "mask")
    gives = ("pathology", "anatomy", "pathology_text", "anatomy_text", "pathology_features", "anatomy_features")
    book_pathology: Tensor
    book_anatomy: Tensor
    said_pathology: Tensor
    said_anatomy: Tensor
    said_pairs: Tensor

    def __init__(
        self,
        *,
        token_width: Annotated[int, FromModel("token_width")],
        banks: Annotated[Mapping[str, Bank], FromModel("banks")],
        pathology: str = "pathology",
        anatomy: str = "anatomy",
        width: Annotated[int, Field(ge=1)] = 256,
        hidden: Annotated[int, Field(ge=1)] | None = None,
        layers: Annotated[int, Field(ge=1)] = 4,
        heads: Annotated[int, Field(ge=1)] = 4,
        feedforward: Annotated[int, Field(ge=1)] = 1024,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        gate: Literal["linear", "sigmoid"] = "linear",
        std: Annotated[float, Field(gt=0)] = 0.02,
    ) -> None:
        super().__init__()
        refuse_heads(heads, width, of="dual_stream")
        self.pathology, self.anatomy = (book_of(banks, name, head="dual_stream") for name in (pathology, anatomy))
        for name, book in (("pathology", self.pathology), ("anatomy", self.anatomy)):
            self.register_buffer(f"book_{name}", book.vectors.detach().float().clone())  # pyrefly: ignore
        counts = {"pathology": len(self.book_pathology), "anatomy": len(self.book_anatomy)}
        book_width, other = self.book_pathology.shape[1], self.book_anatomy.shape[1]
        if other != book_width:
            raise ConfigError(
                f"The banks {pathology!r} and {anatomy!r} of dual_stream have vectors of widths {book_width} and "
                f"{other}: encode both with one encoder."
            )
        # The buffers keep the names that they have in bundles.
        sizes = {"pairs": (counts["anatomy"], counts["pathology"]), **{name: (n,) for name, n in counts.items()}}
        for name, size in sizes.items():
            self.register_buffer(f"said_{name}", torch.zeros(2, *size, dtype=torch.int64))
        self._noted: Tensor | None = None
        self.sigmoid = gate == "sigmoid"
        hidden = hidden or token_width
        self.gate = nn.Linear(token_width, token_width)
        self.query = nn.Linear(book_width, width)
        first = decoder_layer(width=width, heads=heads, feedforward=feedforward, dropout=dropout)
        self.stream = nn.ModuleDict(
            {s: nn.Sequential(nn.Linear(token_width, hidden), nn.ReLU(), nn.Linear(hidden, width)) for s in counts}
        )
        self.decoder = nn.ModuleDict({s: QueryDecoder(first, layers=layers) for s in counts})
        self.exist = nn.ModuleDict({s: nn.Linear(width, 2) for s in counts})
        self.to_text = nn.ModuleDict({s: nn.Linear(width, book_width) for s in counts})
        self.dropout = nn.Dropout(dropout)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=std)
            elif isinstance(module, nn.MultiheadAttention):
                nn.init.normal_(module.in_proj_weight, std=std)
        self.register_load_state_dict_pre_hook(_refuse_other_books)

    def streams(self, tokens: Tensor) -> Streams:
        """Return x_p and x_a, (R, N, W) each."""
        gate = self.gate(tokens).sigmoid() if self.sigmoid else self.gate(tokens)
        return Streams(gate * tokens, (1 - gate) * tokens)

    def attention(self, encoded: Encoded) -> Streams:
        """Return where each query looks: (R, L, P, N) and (R, L, A, N), mean over heads, rows sum to 1 in eval mode."""
        found = self._decode(encoded, attention=True)
        return Streams(**{name: out.attention for name, out in found.items()})  # pyrefly: ignore

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return the parts that the class lists."""
        features = {stream: out.queries for stream, out in self._decode(encoded).items()}
        dropped = {stream: self.dropout(values) for stream, values in features.items()}
        return {
            name: features["anatomy"] @ features["pathology"].transpose(1, 2),
            **{f"{name}_{stream}": self.exist[stream](values) for stream, values in dropped.items()},
            **{f"{name}_{stream}_text": self.to_text[stream](values) for stream, values in dropped.items()},
            **{f"{name}_{stream}_features": values for stream, values in features.items()},
        }

    @torch.no_grad()
    def note(self, matrix: Tensor) -> None:
        """Store a step's triplet matrices (R, A, P), see `medvlp.objectives.medslip`, for `after_step` to count."""
        self._noted = matrix.detach()

    @torch.no_grad()
    def after_step(self, samples_seen: int) -> None:
        """Count stated absences and presences over all processes; skipped steps are not counted."""
        noted = self.said_pairs.new_zeros(0, *self.said_pairs.shape[1:]) if self._noted is None else self._noted
        self._noted = None
        for counted, values in (
            (self.said_pairs, noted),
            (self.said_pathology, noted.amax(dim=1)),
            (self.said_anatomy, noted.amax(dim=2)),
        ):
            counted += collectives.total(torch.stack([(values == 0).sum(dim=0), (values == 1).sum(dim=0)]))

    @property
    def known(self) -> Streams:
        """Which entries were stated both absent and present in training, bool (P,) and (A,)."""
        return Streams((self.said_pathology > 0).all(dim=0), (self.said_anatomy > 0).all(dim=0))

    @property
    def known_pairs(self) -> Tensor:
        """Which pairs were, bool (A, P)."""
        return (self.said_pairs > 0).all(dim=0)

    def _decode(self, encoded: Encoded, *, attention: bool = False) -> dict[str, Decoded]:
        tokens, mask = encoded.part("tokens"), encoded.part("mask")
        real = None if bool(mask.all()) else mask
        parted, found = self.streams(tokens), {}
        for stream, values, book in (
            ("pathology", parted.pathology, self.book_pathology),
            ("anatomy", parted.anatomy, self.book_anatomy),
        ):
            queries = self.query(book).expand(len(tokens), -1, -1)
            found[stream] = self.decoder[stream](queries, self.stream[stream](values), real, attention=attention)
        return found


def _refuse_other_books(module: nn.Module, state_dict: Mapping[str, Tensor], prefix: str, *rest: object) -> None:
    """Weights mean nothing with other queries than those they were trained with."""
    assert isinstance(module, DualStream)
    for bank, own, name in (
        (module.pathology, module.book_pathology, "book_pathology"),
        (module.anatomy, module.book_anatomy, "book_anatomy"),
    ):
        saved = state_dict.get(f"{prefix}{name}")
        if saved is not None and (saved.shape != own.shape or not torch.allclose(saved.to(own), own, atol=1e-4)):
            raise ConfigError(
                f"These weights were trained with other vectors of the bank {bank.name!r}: use the texts and the "
                "encoder that they were trained with."
            )
