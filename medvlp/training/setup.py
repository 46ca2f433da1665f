"""What the loop is given, and how a run ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medvlp.core.keys import Key
from medvlp.core.protocols import Model, State
from medvlp.core.sample import Batch
from medvlp.core.table import FeatureTable
from medvlp.training.options import TrainingOptions
from medvlp.training.phases import PhasePlan
from medvlp.training.precision import Precision
from medvlp.training.tracking import Tracking


@dataclass(frozen=True)
class Setup:
    """All that the loop is given.

    Attributes:
        run: folder.
        model: built, heads mounted, on its device.
        states: by name, bound.
        phases: in order.
        options: of the loop.
        seed: of the run.
        precision: of the towers.
        recipe: hash of the configuration: a checkpoint of another recipe is refused.
        data: hash of the training records: a checkpoint taken on other records is refused.
        validate: model -> metrics on validation data; called on the first process only.
        choose: metric by which the best checkpoint is chosen; larger is better.
        asked: whether somebody asked for it: a validation that measures others and not it then ends the run.
        feature_pass: (model, needs, batches) -> table of this process's rows, for `refresh`; without batches over its
            part of all training records.
        released: gives the model that is validated: an average of the weights, or the model itself.
        tracking: services that rows of the log also go to; used on the first process only.
    """

    run: Path
    model: Model
    states: Mapping[str, State]
    phases: Sequence[PhasePlan]
    options: TrainingOptions
    seed: int
    precision: Precision
    recipe: str
    data: str = ""
    validate: Callable[[Model, int], Mapping[str, float]] | None = None
    choose: str = ""
    asked: bool = True
    feature_pass: Callable[[Model, frozenset[Key], Iterable[Batch] | None], FeatureTable] | None = None
    released: Callable[[], Model] | None = None
    tracking: Tracking | None = None


@dataclass(frozen=True)
class Outcome:
    """How a run ended: samples seen, best checkpoint and its value, skipped steps."""

    samples_seen: int
    best: Path | None
    best_value: float | None
    skipped: int
