"""Where the phases of a run begin and end, and what puts their records in order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from medvlp.config.tree import PhaseConfig, RunConfig
from medvlp.core.errors import ConfigError


def phase_ends(config: RunConfig) -> list[int]:
    """Return the samples at which the phases end: each but the last with the batch in which it does.

    Raises:
        ConfigError: for a phase that would have no step.
    """
    batch = config.training.batch
    steps = [math.ceil(phase.until / batch) for phase in config.phases]
    for at in range(1, len(steps)):
        if steps[at] == steps[at - 1]:
            raise ConfigError(
                f"phases[{at}] ends after {config.phases[at].until} samples, within the last batch of the phase before "
                f"(training.batch is {batch}): it would have no step. Let it end later, or leave it out."
            )
    return [*(batch * each for each in steps[:-1]), config.phases[-1].until]


def phase_begin(config: RunConfig, phase: PhaseConfig) -> int:
    """Return the samples at which a phase begins: where the one before it ends."""
    return [0, *phase_ends(config)][config.phases.index(phase)]


def short_of_warmup(config: RunConfig) -> list[str]:
    """Return a sentence of each optimiser whose samples end before its warm-up does: its rate never arrives."""
    ends = phase_ends(config)
    own = [
        (f"phases[{at}].optimiser", phase.optimiser, ends[at] - (ends[at - 1] if at else 0))
        for at, phase in enumerate(config.phases)
        if phase.optimiser is not None
    ]
    shared = [("optimiser", config.optimiser, ends[-1])] if len(own) < len(ends) else []
    return [
        f"{where}.warmup is {options.warmup:,} samples, and its training ends after {samples:,}: the learning rate "
        f"only rises, to {samples / options.warmup:.2f} of {where}.rate. Set warmup lower."
        for where, options, samples in [*shared, *own]
        if options.warmup > samples
    ]


def sampler_of(config: RunConfig, phase: PhaseConfig) -> Mapping[str, Any]:
    """Return what puts the records of a phase in order."""
    return phase.sampler or config.data.sampler
