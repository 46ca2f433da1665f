"""What a recipe needs and does not get is refused, with a sentence, before any batch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from medvlp.config.tree import EvaluationConfig, RunConfig
from medvlp.core.errors import ConfigError, UserError, did_you_mean
from medvlp.core.fields import ENCODABLE
from medvlp.core.keys import Key
from medvlp.core.protocols import Objective, State, Teacher
from medvlp.training.recompute import drawing


def check_refreshed(
    objectives: Mapping[str, Objective], states: Mapping[str, State], refreshed: set[str], *, where: str
) -> None:
    """Refuse a phase whose objectives read a state that is empty; `refreshed` are those that were filled by then."""
    for name, objective in objectives.items():
        for key in sorted(objective.needs()):
            if key.is_state:
                _check_filled(key.view, states, refreshed, f"{where}: objective {name!r} needs")


def check_followed(sampler: Mapping[str, Any], states: Mapping[str, State], refreshed: set[str], *, where: str) -> None:
    """Refuse a phase whose sampler follows a state that there is not, or that is empty."""
    name = sampler.get("state")
    if not name:
        return
    follows = f"{where}: the sampler {sampler['name']!r} follows"
    if name not in states:
        raise ConfigError(f"{follows} the state {name!r}: {did_you_mean(name, states)}.")
    _check_filled(name, states, refreshed, follows)


def check_unpatched(config: RunConfig) -> None:
    """Refuse patches and drawn gates of a phase where blocks of towers are compiled or computed again."""
    for option in ("recompute", "compile"):
        for i, phase in enumerate(config.phases):
            what = drawing(phase.patches, phase.surgery)
            if getattr(config.training, option) and what:
                raise ConfigError(f"phases[{i}].{what} not go with training.{option}: leave one of them out.")


def check_parts(config: RunConfig, there: Collection[str]) -> None:
    """Refuse data, of the parts `there`, that a run cannot be trained on, or not be judged on as it says."""
    if "train" not in there:
        raise UserError(
            f"No record is in the split 'train' (there: {', '.join(map(str, sorted(there, key=str)))}): "
            "name the training records so, or leave the split column out."
        )
    if config.training.patience is not None and "validate" not in there:
        raise UserError(
            "training.patience counts validations, and no record is in the split 'validate': split some off, or "
            "leave patience out."
        )
    judged = config.evaluation
    if judged.split not in ("test", *there):  # which is the default, and a run may be trained without
        raise ConfigError(
            f"evaluation.split is {judged.split!r}, of which is no record: {did_you_mean(judged.split, there)}."
        )
    check_fit(judged, there)


def check_fit(judged: EvaluationConfig, there: Collection[str]) -> None:
    """Refuse a part for thresholds and calibrations that is none of the usual ones and not `there`."""
    if judged.fit is not None and judged.fit not in ("train", "validate", "test", *there):
        raise ConfigError(
            f"evaluation.fit is {judged.fit!r}, of which is no record: {did_you_mean(judged.fit, there)}, or null."
        )


def check_need(key: Key, who: str, states: Mapping[str, State], there: set[str], where: str) -> None:
    """Refuse what somebody (`who`) needs of a state, a teacher or the data, and is not `there`."""
    if key.is_state:
        if key.view not in states:
            raise ConfigError(f"{where}: {who} needs the state {key.view!r}: {did_you_mean(key.view, states)}.")
        return
    if key.who and not isinstance(states.get(key.who), Teacher):
        teachers = [n for n, state in states.items() if isinstance(state, Teacher)]
        raise ConfigError(
            f"{where}: {who} needs {str(key)!r} of a teacher {key.who!r}, which is not under states: "
            f"{did_you_mean(key.who, teachers)}."
        )
    if not key.is_bank and key.view not in there:
        near = [name for name in there if not key.part or name.partition(".")[0] in ENCODABLE]
        raise ConfigError(
            f"{where}: {who} needs the field {key.view!r}, which the data lacks: {did_you_mean(key.view, near)}."
        )


def _check_filled(name: str, states: Mapping[str, State], refreshed: set[str], who: str) -> None:
    """Refuse a state that is empty until it is refreshed, when somebody (`who`, with a verb) reads it before."""
    if name not in refreshed and states[name].needs_refresh:
        raise ConfigError(
            f"{who} the state {name!r}, which nothing fills: give the phase "
            f"refresh: [{{state: {name}, every: SAMPLES}}]."
        )
