"""``query-softmax``: what a decoder's query answers, absent or present."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from medvlp.answers.prompting.recipe import FloatArray, Given, Recipe, softmax
from medvlp.core.errors import DataError
from medvlp.text.prompts import PromptSet


class QuerySoftmax(Recipe):
    """p = softmax of the two logits of a finding's query, at ``present``.

    MedKLIP (Wu et al., ICCV 2023), KAD (Zhang et al., Nat Commun 2023), MAVL (Phan et al., CVPR 2024), MeDSLIP (Fan
    et al. 2024): queries from texts attend to image tokens, a linear layer gives two logits a query.

    Args:
        head: part of the images that holds the logits (N, Q, 2).
        queries: finding -> name of its query, where they differ: MedKLIP asks for ``infiltrate``, data sets for
            infiltration.
        present: which of the two logits means present.

    Raises:
        DataError: if a finding has no query, or the logits are not (N, Q, 2).

    Example:
        >>> import numpy as np
        >>> given = Given((PromptSet("v1", "a", ("a",), ("no a",)),), {"existence": np.array([[[0.0, 1.0]]])},
        ...               names={"existence": ("a",)})
        >>> QuerySoftmax().scores(given).round(3).tolist()
        [[0.731]]
    """

    name = "query-softmax"
    text_parts = ()

    def __init__(
        self, *, head: str = "existence", queries: Mapping[str, str] | None = None, present: Literal[0, 1] = 1
    ) -> None:
        self.head = head
        self.queries = queries or {}
        self.present = present

    @property
    def image_parts(self) -> tuple[str, ...]:
        """The head."""
        return (self.head,)

    def words(self, prompts: Sequence[PromptSet]) -> tuple[str, ...]:
        """Return nothing: the queries are inside the model."""
        return ()

    def scores(self, given: Given) -> FloatArray:
        """Return (N, F)."""
        logits, names = given.image(self.head), given.names.get(self.head, ())
        if logits.ndim != 3 or logits.shape[1:] != (len(names), 2):
            raise DataError(
                f"The head {self.head!r} gives {logits.shape} for {len(names)} queries: it needs (N, Q, 2)."
            )
        asked = [self.queries.get(label, label) for label in given.labels]
        missing = sorted(set(asked) - set(names))
        if missing:
            raise DataError(
                f"The head {self.head!r} has no query {missing[0]!r}, it has {', '.join(names[:8])}: map it."
            )
        return softmax(logits[:, [names.index(each) for each in asked]])[..., self.present]
