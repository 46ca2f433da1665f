"""What answers over pixels share: which findings are meant, one image or volume a sample, and its way to the file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from medvlp.core.answers import Answer, Ask
from medvlp.core.errors import ConfigError, DataError, did_you_mean
from medvlp.core.keys import Key, Plan
from medvlp.core.protocols import Model
from medvlp.core.sample import Batch, ImageRecord, Sample
from medvlp.data.collate import collate


class OverPixels(Answer):
    """Base of answers that encode each picture themselves, since what they make of it belongs to its pixels."""

    streams: ClassVar[bool] = True

    def needs(self, model: Model) -> frozenset[Key]:
        """Nothing of a feature pass."""
        return frozenset()

    def check(self, model: Model) -> None:
        """See `Answer`."""
        model.check(self._plan(model))

    @abstractmethod
    def _plan(self, model: Model) -> Plan:
        """Return what is computed of each picture."""


def asked_labels(labels: Sequence[str], ask: Ask) -> tuple[str, ...]:
    """Return the findings that are asked for, all where none is named.

    Raises:
        ConfigError: for one that the answer does not know.

    Example:
        >>> asked_labels(("lung", "heart"), Ask(findings=("heart",)))
        ('heart',)
    """
    for name in ask.findings:
        if name not in labels:
            raise ConfigError(f"This model was not taught {name!r}: {did_you_mean(name, labels)}.")
    return tuple(ask.findings) or tuple(labels)


def single(sample: Sample, view: str, *, what: str) -> Batch | None:
    """Return a sample's one image or volume as a batch of its own; None where it has none.

    Args:
        sample: prepared.
        view: of the image or volume.
        what: is made of one, for the error.

    Raises:
        DataError: if the sample has several.
    """
    field = sample.fields.get(view)
    if field is None:
        return None
    batch = collate([Sample(sample.id, {view: field})], torch.zeros(1, dtype=torch.int64))
    values = batch[view].values
    assert isinstance(values, Tensor)
    if len(values) != 1:
        raise DataError(f"{sample.id!r} has {len(values)} rows of {view!r}, and {what} on one: name one.")
    return batch


def record_of(sample: Sample, view: str) -> ImageRecord:
    """Return how a view was made of its file.

    Raises:
        DataError: if nobody knows.
    """
    record = sample.record(view)
    if record is None:
        raise DataError(
            f"It is not known how the field {view!r} of {sample.id!r} was made of its file: let a view read it."
        )
    return record
