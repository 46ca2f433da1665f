"""Changing a model for good, and writing down in its specification what was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Model
from medvlp.core.registry import build, fill
from medvlp.models._draws import seeded
from medvlp.models.architectures._towers import TowerModel


class Surgery(Protocol):
    """A permanent change of a model, in place: a component of `models/surgery`.

    A parameter that it leaves as it was stays the same object, so that an optimiser goes on with its moments; one
    that it changes is a new object, and starts afresh. What it does depends on its options and the model's shapes
    only: a bundle is rebuilt by doing it again to a freshly built model, whose weights are then replaced.
    """

    def __call__(self, model: TowerModel) -> None: ...


def operate(model: Model, specs: Sequence[Mapping[str, object]], *, seed: int = 0, where: str = "surgery") -> None:
    """Change a model by each surgery in turn; its `spec` lists them from then on, under ``surgery``.

    Take patches away first, and apply it before the optimiser is made and the model is wrapped for several processes.
    `specs` are components of `models/surgery`: ``{name: stretch_positions, keep: 20, ratio: 4}``.

    Raises:
        ConfigError: for a faulty specification, or a model that it cannot be done to.
    """
    if not isinstance(model, TowerModel):
        raise ConfigError(f"{where}: {type(model).__name__} has no towers: surgery needs a model of towers.")
    for i, spec in enumerate(specs):
        done = model.spec.get("surgery", [])
        assert isinstance(done, list)
        filled = fill("models/surgery", spec, where=f"{where}[{i}]")
        surgery: Surgery = build("models/surgery", spec, where=f"{where}[{i}]")
        with seeded(seed, f"surgery {len(done)}"):
            try:
                surgery(model)
            except ConfigError as error:
                raise ConfigError(f"{where}[{i}]: {error}") from None
        model.spec["surgery"] = [*done, filled]
