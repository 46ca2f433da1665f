"""MeDSLIP (Fan et al. 2024, arXiv 2403.10635): which findings there are, where, and which belongs to which place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from medvlp.core.context import Context
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import AnswerSpec, Objective
from medvlp.core.term import Term, Terms
from medvlp.objectives._medslip import STREAMS, Stated, Stream, existence_loss, pair_loss, stated
from medvlp.objectives.medslip_protocl import MedslipProtocl

Weight = Annotated[float, Field(ge=0)]


class Medslip(Objective):
    r"""Existence, prototypical contrast and intra-image contrast over the matrix M (A, P) of what a report states.

    ::

        L = exist (L_exist,p + L_exist,a) + prototypes (L_proto,p + L_proto,a) + pairs L_pairs

        L_exist,s   cross entropy of present or absent of each query that M says anything of
        L_proto,s   see `medslip_protocl`
        L_pairs     binary cross entropy of the logits S = F_a F_p^T with M, over all entries of M that are not -1

    Each is a mean over all of its (image, query) or (image, pair). With the defaults it is the loss of the released
    code, less its faults: M is never written to, and an empty set of queries is no NaN.

    "Present" of a normal word ("clear") means healthy, and a place is present where anything at all is stated of it.

    Args:
        image: view of the images.
        head: name of their `dual_stream` head.
        matrix: field with the flattened matrix of each sample, as the view ``triplet_matrix`` writes it.
        pathology: bank of the head's pathologies.
        anatomy: bank of its anatomies.
        exist: weight of the existence terms.
        prototypes: weight of the prototypical contrast; 0: it is not computed.
        pairs: weight of the intra-image contrast; 0: it is not computed.
        negatives: of the prototypical contrast.
        absent_only: see `medslip_protocl`.
        temperature: see `medslip_protocl`.

    Returns:
        ``exist_pathology``, ``exist_anatomy``, ``prototypes_pathology``, ``prototypes_anatomy``, ``pairs``, weighted.

    Example:
        >>> [str(key) for key in sorted(Medslip(prototypes=0).needs())]
        ['image/medslip', 'image/medslip_anatomy', 'image/medslip_pathology', 'vector.triplets']
    """

    def __init__(
        self,
        *,
        image: str = "image",
        head: str = "medslip",
        matrix: str = "vector.triplets",
        pathology: str = "pathology",
        anatomy: str = "anatomy",
        exist: Weight = 1.0,
        prototypes: Weight = 1.0,
        pairs: Weight = 1.0,
        negatives: Annotated[int, Field(ge=1)] = 7,
        absent_only: bool = False,
        temperature: Annotated[float, Field(gt=0)] | None = None,
    ) -> None:
        super().__init__()
        self.image, self.head, self.matrix = image, head, matrix
        self.weights = {"exist": exist, "prototypes": prototypes, "pairs": pairs}
        self.protocl = None
        if prototypes:
            self.protocl = MedslipProtocl(
                image=image,
                head=head,
                matrix=matrix,
                pathology=pathology,
                anatomy=anatomy,
                negatives=negatives,
                absent_only=absent_only,
                temperature=temperature,
            )

    def needs(self) -> frozenset[Key]:
        """Existence logits and the matrix; where weighed, the pairs' logits and what the prototypes need."""
        own = [f"{self.image}/{self.head}_{stream}" for stream in STREAMS]
        own += [f"{self.image}/{self.head}"] if self.weights["pairs"] else []
        return keys(*own, self.matrix) | (frozenset() if self.protocl is None else self.protocl.needs())

    def answers(self) -> Sequence[AnswerSpec]:
        """Which findings are there and, where pairs are taught, which lies where."""
        names = ("existence", "pairs") if self.weights["pairs"] else ("existence",)
        return tuple(AnswerSpec(name, {"head": self.head}) for name in names)

    def forward(self, ctx: Context) -> Terms:
        """Return the five terms, or those that are weighed."""
        facts = stated(ctx, image=self.image, head=self.head, matrix=self.matrix)
        terms = {f"exist_{stream}": self._existence(ctx, facts, stream) for stream in STREAMS}
        if self.protocl is not None:
            found = self.protocl(ctx)
            terms |= {name: term.times(self.weights["prototypes"]) for name, term in found.items()}
        if self.weights["pairs"]:
            scores = ctx[f"{self.image}/{self.head}"][facts.rows]
            terms["pairs"] = pair_loss(scores, facts.matrix).times(self.weights["pairs"])
        return terms

    def _existence(self, ctx: Context, facts: Stated, stream: Stream) -> Term:
        logits = ctx[f"{self.image}/{self.head}_{stream}"][facts.rows]
        return existence_loss(logits, facts.of(stream)).times(self.weights["exist"])
