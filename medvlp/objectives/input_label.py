"""Input against label text (Rethmeier and Augenstein 2023, a primer): labels are texts, told by noise contrast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys, parse_key
from medvlp.core.protocols import Objective
from medvlp.core.term import Terms
from medvlp.objectives._contrast import contrast
from medvlp.objectives._labels import labels_of
from medvlp.objectives._sigmoid_contrast import sigmoid_contrast


class InputLabel(Objective):
    r"""A report (or an image) finds the texts of its labels among all label texts.

    With s(x, c) the similarity of a row x and a label text c at the model's logit scale, P the labels that are true of
    x and N those that are false, or some drawn ones of these; per row, then the mean over rows::

        binary  = - sum over P of log sigmoid(s(x, c)) - sum over N of log(1 - sigmoid(s(x, c)))
        softmax = mean over P of -log( e^{s(x, c)} / (e^{s(x, c)} + sum over c' in N of e^{s(x, c')}) )

    With all labels `binary` is the binary cross entropy of a classifier whose weights are the embeddings of label
    texts; so a label that was never trained can be asked for by its text, as well as its words are known from others.
    Labels that are unknown or uncertain stay out. Texts that deny ("no effusion") are true where their label is 0: a
    bank of them beside one of findings teaches what a single word turns around.

    Args:
        bank: whose texts are the labels'.
        labels: label of each text of the bank, in its order (fields ``label.LABEL``); several texts may say one label.
        view: of the inputs: ``text`` trains the report encoder with reports and labels alone.
        denied: the bank's texts deny their labels.
        form: ``binary`` or ``softmax``.
        negatives: how many false labels are drawn for each row; None: all.

    Returns:
        ``labels``; ``binary`` sums over labels, as BCE summed over classes.

    Raises:
        ConfigError: without labels; by the call, if the bank has another number of texts.

    Note:
        Labels read from a report by rules make their rules the target; and a report that does not mention a finding is
        no denial of it, so a blank label must not be filled with 0.

    References:
        Rethmeier and Augenstein 2023, input-label contrastive pretraining; Gutmann and Hyvaerinen 2010 (NCE).

    Example:
        >>> objective = InputLabel(bank="findings", labels=["effusion", "nodule"])
        >>> rows = {str(key): torch.eye(2) for key in objective.needs() if key.part}
        >>> labels = {"label.effusion": torch.tensor([1.0, 0.0]), "label.nodule": torch.tensor([0.0, -1.0])}
        >>> term = objective(Context.of(rows, labels))["labels"]
        >>> round(term.sum.item(), 4), term.count.item()  # log(1 + 1/e) + log 2, and log 2
        (1.6996, 2.0)
    """

    def __init__(
        self,
        *,
        bank: str,
        labels: Sequence[str],
        view: str = "text",
        denied: bool = False,
        form: Literal["binary", "softmax"] = "binary",
        negatives: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        super().__init__()
        if not labels:
            raise ConfigError("labels of objective 'input_label' is empty: name the label of each text of the bank.")
        self.labels, self.denied, self.form, self.negatives = tuple(labels), denied, form, negatives
        self.input, self.bank = f"{view}/embedding", f"bank.{bank}/embedding"

    def needs(self) -> frozenset[Key]:
        """Embeddings of the inputs and of the label texts, and the labels."""
        return keys(self.input, self.bank, *(f"label.{label}" for label in self.labels))

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        texts = ctx[self.bank]
        if len(texts) != len(self.labels):
            raise ConfigError(
                f"Objective 'input_label' names {len(self.labels)} labels for the {len(texts)} texts of {self.bank!r}: "
                "name the label of each text, in the bank's order."
            )
        labels, known = labels_of(ctx, self.input, self.labels)
        true = (labels < 0.5 if self.denied else labels >= 0.5) & known
        used = true | self._drawn(ctx, known & ~true)
        scores = ctx.scale(ctx[self.input] @ texts.T)
        if self.form == "binary":
            return {"labels": sigmoid_contrast(scores, true, exclude=~used)}
        return {"labels": contrast(scores, true, exclude=~used, positives="each")}

    def _drawn(self, ctx: Context, false: Tensor) -> Tensor:
        """Return the false labels that are used, bool (R, C)."""
        if self.negatives is None:
            return false
        draws = ctx.uniform(len(self.labels), name="input_label negatives")[ctx.parts[parse_key(self.input)].owner]
        order = torch.where(false, draws, 2.0).argsort(dim=1, stable=True).argsort(dim=1)
        return false & (order < self.negatives)
