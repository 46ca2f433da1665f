"""Prototypes of findings: where samples with and without each finding lie, followed by a moving average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.keys import Key, keys
from medvlp.core.registry import FromModel
from medvlp.core.schedules import Number
from medvlp.core.table import FeatureTable
from medvlp.features.prototypes import members
from medvlp.state._anchors import Anchored, Anchors
from medvlp.state._beliefs import Beliefs, Sure, SureLabels
from medvlp.state._cleaning import CleanBy, Cleaning
from medvlp.state._moving_prototypes import MovingPrototypes


class ClassPrototypes(MovingPrototypes):
    r"""Two unit vectors a finding, of the samples in which it is absent and present.

    Each labelled sample moves its prototype, see `MovingPrototypes`. With a refresh they begin as the mean of the
    labelled cohort (of its trusted samples, where there are any); with `momentum` 1 they stay there: anchors.

    Labels that were mined are often wrong. From `clean_from` on, a label stays, turns to the other or is dropped for
    the step, see `Cleaning`; or, with `follow`, a belief about each sample follows what the prototypes say of it,
    s <- f s + (1 - f) vote, from its label on, see `Beliefs`. Labels of trusted samples, of anchors, and
    those that are `sure`, are never changed.

    Args:
        trusted: label or number field that is 1 for samples whose labels are right.
        sure: labels that are beyond doubt; those of a negative bag, for instance, are absent for each of its instances.
        clean_from: samples seen by the run from which labels are cleaned; None: never.
        keep: probability with which a label stays; below 1/2 it stays only if the other has not `relabel`.
        relabel: probability with which the other label takes its place.
        follow: f, or a ramp of it; None: labels stay, turn or are dropped. `keep` and `relabel` are not used with it.
        predictions: key of a classifier's logits (R, L) on the same rows, such as ``image/findings``.
        relation: head ``relation`` that an objective trains, by its name.
        clean_by: by what a label stays: its probability, the relation that a network sees, or either of the two.
        related: smallest value of the relation.
        anchors: which samples a refresh begins with, by their reports, see `Anchors`; instead of trusted ones.

    Raises:
        ConfigError: if a finding is named twice, or none is; for `follow` without `clean_from`, or with f outside
            [0, 1); or if there is no relation to clean by.

    References:
        Yang et al. 2023 (CAPro); Qin et al. 2022 (FoPro); Qu et al. 2023 (INS); the moving average is PiCO's (Wang et
        al. 2022). Of each this is the part that lives across steps; the rest are the objectives of those names.

    Example:
        >>> prototypes = ClassPrototypes(labels=["effusion"])
        >>> columns = {"image/embedding": torch.eye(2).numpy(), "label.effusion": torch.tensor([1.0, 0.0]).numpy()}
        >>> prototypes.refresh(FeatureTable(["a", "b"], columns))
        >>> prototypes.prototypes.tolist()
        [[[0.0, 1.0], [1.0, 0.0]]]
    """

    def __init__(
        self,
        *,
        labels: Sequence[str],
        reads: str = "image/embedding",
        momentum: Annotated[float, Field(ge=0, le=1)] = 0.99,
        trusted: str | None = None,
        sure: Sure = "none",
        clean_from: Annotated[int, Field(ge=0)] | None = None,
        keep: Annotated[float, Field(ge=0, le=1)] = 0.5,
        relabel: Annotated[float, Field(ge=0, le=1)] = 0.6,
        temperature: Annotated[float, Field(gt=0)] | Literal["density"] = 0.1,
        follow: Number | None = None,
        predictions: str | None = None,
        relation: str | None = None,
        clean_by: CleanBy = "rule",
        related: Annotated[float, Field(ge=0, le=1)] = 0.6,
        anchors: Anchors | None = None,
        model: Annotated[nn.Module | None, FromModel("model")] = None,
    ) -> None:
        super().__init__(labels, reads=reads, momentum=momentum, temperature=temperature, model=model)
        if follow is not None and clean_from is None:
            raise ConfigError("follow of state 'class_prototypes' needs clean_from: say from which sample on.")
        self.anchored = None if anchors is None else Anchored(anchors, self.labels)
        self.beliefs = None if follow is None else Beliefs(follow, len(labels))
        self.sure_labels = SureLabels(trusted, sure, self.anchored)
        rule = (keep, relabel, predictions, relation, clean_by, related)
        self.cleaning = Cleaning(clean_from, self.sure_labels, self.beliefs, *rule)

    def needs(self) -> frozenset[Key]:
        """The features, the labels, the field of trust and the classifier's logits."""
        return super().needs() | self.sure_labels.needs() | keys(*filter(None, [self.cleaning.predictions]))

    def refresh_needs(self) -> frozenset[Key]:
        """Features, labels and trust of the cohort, and the reports that choose anchors."""
        return super().needs() | self.sure_labels.refresh_needs()

    def targets(self, ctx: Context, rows: Tensor, key: str) -> Tensor:
        """Return what is believed of the labels of a key's own rows, (R, L): 1, 0, between, or NaN for none.

        Args:
            rows: (R, D) unit rows in the prototypes' space.
            key: whose owners tell the samples.
        """
        return self.cleaning.targets(ctx, rows, key, self)

    @torch.no_grad()
    def refresh(self, table: FeatureTable) -> None:
        """Begin as the means of the labelled cohort; of its trusted samples or anchors, where a finding has any."""
        rows, there, labels = self.cohort(table)
        sound = self.sure_labels.of_cohort(table, rows, labels, self._model)
        self.begin(rows, members(labels) & there[:, None, None], sound)

    @torch.no_grad()
    def observe(self, ctx: Context) -> None:
        """Put a step's rows and labels aside."""
        rows = unit(ctx[self.reads].detach())
        self.hold(rows, self.cleaning.observed(ctx, rows, self.reads, self))

    def after_step(self, model: object, samples_seen: int) -> None:
        """Move the prototypes, and what is believed, by the rows observed in this step."""
        super().after_step(model, samples_seen)
        if self.beliefs is not None:
            self.beliefs.after_step(samples_seen)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the prototypes and the samples that made them."""
        parts = [super().state_dict(), *(part.state_dict() for part in (self.beliefs, self.anchored) if part)]
        return {name: tensor for part in parts for name, tensor in part.items()}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned, or raise a `DataError` if it is of another configuration."""
        if (self.beliefs is not None) != ("believed" in tensors):
            raise DataError(
                "The saved prototypes come with beliefs of samples and the configuration has none, or the other way "
                "round (follow): resume with the configuration they were saved with."
            )
        super().load_state_dict(tensors)
        for part in filter(None, (self.beliefs, self.anchored)):
            part.load_state_dict(tensors)
