"""INS (Qu et al. 2023): bags are labelled, and each instance finds its own label by contrast and prototypes."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.term import Term, Terms
from medvlp.objectives._contrast import contrast
from medvlp.objectives._noisy_labels import NoisyLabels, binary

_FIELDS = {"study": "id.study", "patient": "id.patient"}


class Ins(NoisyLabels):
    r"""A classifier of instances with soft labels, a contrast of those predicted alike, and the label of the bag.

    An instance's label field holds the label of its bag. Instances of a bag without the finding have none; those of a
    bag with it may have it or not. With s the belief that a state `class_prototypes` follows (``sure: absent``,
    `follow`), c the predicted label: the classifier's, absent in a bag without the finding, and z the projected row,

        classify = BCE(classifier(row), s)
        contrast = weight * mean over j in P of -log softmax_j(z . a / t)
        bag      = weight * BCE(mean over the bag's instances of the logits, label of the bag)

    a are all rows z of the step but the own one, all keys of the teacher, and the queue's; P those with the same c. Up
    to `alike_from` P is the sample's own key alone, among the queue's. A bag's mean is over its instances in the step.
    The authors' code gives a softmax of mean features to a cross entropy of logits; here mean logits meet the label.
    Their beliefs begin at 1/2 in a bag with the finding, here at 1, its label.

    Args:
        labels, part, teacher, temperature, hidden, width: as in `NoisyLabels`.
        view: of the instances: pictures with a study's label, tiles or slices.
        bag: what the instances of a bag share: the ``sample`` whose rows they are, the ``study`` or the ``patient``.
        state: state `class_prototypes` that reads ``VIEW/HEAD``, with ``predictions: VIEW/PART``.
        queue: state `queue` that reads ``TEACHER:VIEW/HEAD``, with ``beside: [VIEW/PART, label.FINDING, ...]``.
        alike_from: samples seen by the run from which P is by predicted labels.
        contrast_weight: of the contrast.
        bag_weight: of the bag's term; 0 takes it out.
        head: name of the projection.

    Returns:
        ``classify``, ``contrast`` and ``bag`` (without its weight none).

    Raises:
        ConfigError: if the states are others, or no label is sure to be absent.

    References:
        Qu et al. 2023, equations 3 to 10; Khosla et al. 2020 (contrast); Wang et al. 2022 (PiCO).

    Note:
        A report that is silent about a finding is no bag without it: give such labels as missing, or instances that
        have the finding are held to be sure negatives.

    Example:
        >>> sorted(map(str, Ins(labels=["effusion"], bag="study").needs()))[:4]
        ['ema:image/ins', 'id.study', 'image/findings', 'image/ins']
    """

    def __init__(
        self,
        *,
        labels: list[str],
        view: str = "image",
        bag: Literal["sample", "study", "patient"] = "study",
        part: str = "findings",
        state: str = "class_prototypes",
        teacher: str = "ema",
        queue: str = "queue",
        alike_from: Annotated[int, Field(ge=0)] = 0,
        contrast_weight: Annotated[float, Field(ge=0)] = 0.5,
        bag_weight: Annotated[float, Field(ge=0)] = 0.5,
        temperature: Annotated[float, Field(gt=0)] = 0.07,
        hidden: Annotated[int, Field(ge=1)] = 512,
        width: Annotated[int, Field(ge=1)] = 128,
        head: str = "ins",
    ) -> None:
        states = {"state": state, "teacher": teacher, "queue": queue}
        rows = {"rows": head, "hidden": hidden, "width": width, "temperature": temperature}
        super().__init__(objective="ins", labels=labels, view=view, part=part, **states, **rows, rebuild=False)
        self.bag = bag
        self.alike_from = alike_from
        self.contrast_weight = contrast_weight
        self.bag_weight = bag_weight

    def needs(self) -> frozenset[Key]:
        """What all such methods need, and what tells bags apart."""
        return super().needs() | keys(*([_FIELDS[self.bag]] if self.bag in _FIELDS else []))

    def forward(self, ctx: Context) -> Terms:
        """Return the terms."""
        state, rows, targets = self.believed(ctx)
        if state.sure_labels.value != "absent" or state.beliefs is None or state.cleaning.predictions != self.key:
            raise ConfigError(
                f"Objective 'ins' needs sure: absent, follow, and predictions: {self.key} of states.{self.state}."
            )
        alike = self.alike(ctx, rows) if ctx.samples_seen >= self.alike_from else self.instance(ctx, rows)
        terms = {"classify": binary(ctx[self.key], targets), "contrast": alike.times(self.contrast_weight)}
        return {**terms, "bag": self.of_bags(ctx).times(self.bag_weight)} if self.bag_weight else terms

    def alike(self, ctx: Context, rows: Tensor) -> Term:
        """Return the contrast of own rows with everybody's, the teacher's and the queue's, over all findings."""
        labels = torch.stack([ctx.rows(f"label.{name}", self.rows_key).one() for name in self.labels], dim=1)
        own = predicted(labels, ctx[self.key].detach())
        every = ctx.gather(own, ctx.owner(self.rows_key)).values
        columns = [unit(ctx.all(self.rows_key)), unit(ctx.all(self.taught_key))]
        found, past = [every, every], self.queued(ctx, self.taught_key).to(rows)
        if len(past):
            before = torch.stack([self.queued(ctx, f"label.{name}") for name in self.labels], dim=1)
            columns.append(past)
            found.append(predicted(before, self.queued(ctx, self.key)).to(every))
        scores, of_column = rows @ torch.cat(columns).T / self.temperature, torch.cat(found)
        itself = torch.zeros_like(scores, dtype=torch.bool)
        itself[torch.arange(len(rows)), ctx.own(self.rows_key)] = True
        terms = [contrast(scores, own[:, [i]] == of_column[:, i], exclude=itself) for i in range(len(self.labels))]
        return sum(terms[1:], start=terms[0])

    def of_bags(self, ctx: Context) -> Term:
        """Return the cross entropy of each bag's mean logits with its label, each bag counting once."""
        same = ctx.same(self.bag, rows=self.key, columns=self.key).to(ctx[self.key])
        mean = same @ ctx.all(self.key) / (count := same.sum(dim=1, keepdim=True))
        labels = torch.stack([ctx.rows(f"label.{name}", self.key).one() for name in self.labels], dim=1)
        known = (labels == 0) | (labels == 1)
        loss = F.binary_cross_entropy_with_logits(mean, torch.where(known, labels, 0.0).to(mean), reduction="none")
        return Term.of(loss.flatten(), (known / count).flatten())


def predicted(labels: Tensor, logits: Tensor) -> Tensor:
    """Return the classifier's label among those that the bag allows, (R, L): 1, 0, or NaN where the bag has no label.

    Example:
        >>> predicted(torch.tensor([0.0, 1.0, 1.0, -1.0]), torch.tensor([3.0, 3.0, -3.0, 3.0])).tolist()
        [0.0, 1.0, 0.0, nan]
    """
    known = (labels == 0) | (labels == 1)
    return torch.where(known, ((labels == 1) & (logits > 0)).to(logits), torch.nan)
