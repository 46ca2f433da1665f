"""Grades of a finding: steps from least to most, each asked of those that reached the one before."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.term import Term, Terms
from medvlp.objectives._labelled import Labelled
from medvlp.objectives._labels import labels_of


class Ordinal(Labelled):
    r"""CORN (Shi, Cao and Raschka 2023, eq. 5 and 6): a grade as steps whose order the model cannot break.

    Step k is a finding, ``label.LABEL``, that implies those before it: edema, at least moderate edema, severe edema.
    With the logit z_k, sigmoid z_k is the probability of step k among those that reached step k - 1, and is taught on
    them alone::

        ordinal = - sum over k and rows of y_k log sigmoid(z_k) + (y_{k-1} - y_k) log sigmoid(-z_k) / sum of y_{k-1}

    (y_0 = 1; labels of pictures that the batch view `mixup` mixed are shares). The probability of step k is the product
    of sigmoid z_1 to sigmoid z_k: it never grows with k. NaN and -1 (uncertain) take no part. A table with one column
    of grades gives its steps by ``label.edema: "grade>=1"``.

    Args:
        labels: K steps, from least to most.
        view: whose rows are graded.
        reads: part that is graded: ``pooled``, or what a head gives.
        part: name of the linear head.

    Returns:
        ``ordinal``.

    Raises:
        ConfigError: for fewer than two steps, or one that stands twice.
        DataError: for a row that has a step and not the one before it.

    Example:
        >>> objective = Ordinal(labels=["edema", "edema_moderate"])
        >>> objective.answers()[0].options
        {'part': 'findings', 'labels': ['edema', 'edema_moderate'], 'ordered': True}
    """

    def __init__(
        self, *, labels: list[str], view: str = "image", reads: str = "pooled", part: str = "findings"
    ) -> None:
        head = {"name": "linear", "reads": reads}
        super().__init__(objective="ordinal", labels=labels, view=view, part=part, head=head)
        if len(labels) < 2:
            raise ConfigError("A grade of one step is a finding: give objective 'ordinal' two labels, or use classify.")
        self.asked = {"ordered": True}

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        labels, known = labels_of(ctx, self.key, self.labels)
        logits, labels = ctx[self.key], labels.to(ctx[self.key].dtype)
        before = torch.cat([torch.ones_like(labels[:, :1]), labels[:, :-1]], dim=1)
        asked = known & torch.cat([torch.ones_like(known[:, :1]), known[:, :-1]], dim=1)
        if bool((asked & (labels > before + 1e-3)).any()):
            raise DataError(
                f"A sample has a step of {', '.join(self.labels)} and not the one before it: each must imply those "
                f"before it, so mend its labels or their order."
            )
        losses = labels * F.logsigmoid(logits) + (before - labels) * F.logsigmoid(-logits)
        return {"ordinal": Term(-losses[asked].sum(), before[asked].sum())}
