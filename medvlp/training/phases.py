"""A phase: until when, what trains, on what, towards what. A recipe is a list of phases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.optim import Optimizer

from medvlp.core.protocols import Objective
from medvlp.core.sample import Batch
from medvlp.core.schedules import Number
from medvlp.core.views import BatchView
from medvlp.training.optimisation import OptimiserOptions, make_optimiser
from medvlp.training.rows import chosen_rows


class Refresh(BaseModel):
    """Run a feature pass over the training data and give it to a state, every so many samples.

    Attributes:
        state: name of the state.
        every: samples between two passes; the first is at the start of the phase.
        over: ``cohort``: all training records, without random views; ``episode``: the samples that come until the next
            pass, with the random views that they will be trained with; ``replays``: all training records with each of
            their ``data.replays`` augmentations.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: str
    every: int = Field(gt=0)
    over: Literal["cohort", "episode", "replays"] = "cohort"


@dataclass(frozen=True)
class PhasePlan:
    """A phase of training with its built objectives, patches and optimiser options.

    Attributes:
        until: samples seen by the run at its end.
        objectives: by name; the names are unique over the run.
        weights: by objective name.
        optimiser: options; a phase with its own has its own warm-up and horizon.
        own_optimiser: whether moments and horizon start afresh; moments do also behind a phase with another algorithm.
        batches: from a number of samples seen, this process's batches, without end.
        follows: name of the state that decides which samples a batch holds, where one does: its feature passes come
            before batches are made, which begin anew after each.
        episode: (first, last) -> this process's part of the samples at those places of the stream, each once.
        replays: from a number of samples seen, this process's part of all samples in all their augmentations.
        trainable: patterns over names ``model.*`` and ``objectives.*``; one that starts with ``!`` takes out again, one
            that ends with ``[first:last]`` is of rows, see `medvlp.training.rows`.
        patches: specs for `medvlp.models.patches`.
        surgery: specs for `medvlp.models.surgery`, done once, when the phase begins.
        refresh: feature passes.
        batch_views: what is done to a batch before it is encoded.
    """

    until: int
    objectives: Mapping[str, Objective]
    weights: Mapping[str, Number]
    optimiser: OptimiserOptions
    batches: Callable[[int], Iterable[Batch]]
    follows: str = ""
    episode: Callable[[int, int], Iterable[Batch]] | None = None
    replays: Callable[[int], Iterable[Batch]] | None = None
    own_optimiser: bool = False
    trainable: Sequence[str] = ("*",)
    patches: Sequence[Mapping[str, object]] = ()
    surgery: Sequence[Mapping[str, object]] = ()
    refresh: Sequence[Refresh] = field(default_factory=tuple)
    batch_views: Sequence[BatchView] = ()


def set_trainable(root: nn.Module, patterns: Sequence[str], *, where: str) -> list[str]:
    """Set ``requires_grad`` by patterns, later ones over earlier; modules that are wholly frozen go to eval mode.

    A parameter of which some rows train has a gradient; `medvlp.training.rows.HeldRows` keeps the others still.

    Returns the names of what trains.

    Raises:
        ConfigError: if a pattern matches no parameter, or no row of one.

    Example:
        >>> net = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
        >>> set_trainable(net, ["*", "!0.*"], where="phases[0]")
        ['1.weight', '1.bias']
    """
    named = dict(root.named_parameters())
    chosen = chosen_rows(named, patterns, where=f"{where}.trainable")
    for name, parameter in named.items():
        parameter.requires_grad_(chosen[name] is not False)
    root.train()
    for module in root.modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            module.eval()
    return [name for name, on in chosen.items() if on is not False]


def optimiser_of(root: nn.Module, phases: Sequence[PhasePlan], index: int) -> Optimizer:
    """Build the optimiser of a phase over what of the root trains, when the root has the phase's shape.

    Raises:
        ConfigError: if a pattern of its options matches no parameter. One of options that phases share may be about
            what another phase's patches or surgery bring: where there are any it is logged.
    """
    phase = phases[index]
    if phase.own_optimiser:
        return make_optimiser(root, phase.optimiser, where=f"phases[{index}].optimiser")
    return make_optimiser(root, phase.optimiser, others=any(each.patches or each.surgery for each in phases))
