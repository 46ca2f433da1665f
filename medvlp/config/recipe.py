"""The recipe of a run: the tree with every default, and the hash of all in it that decides what is learned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medvlp.config.components import fill_components
from medvlp.config.tree import RunConfig, load_config
from medvlp.core.errors import ConfigError, UserError
from medvlp.core.provenance import hash_of

# A change of these does not change what is learned, so it does not change the recipe.
_NOT_RECIPE = ("run", "answers", "evaluation", "gate")
_NOT_RECIPE_TRAINING = ("device", "parallel", "workers", "chunks", "keep", "log_every", "checkpoint_every")
_NOT_RECIPE_TRAINING += ("compile", "remember", "track")


def resumed(run: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Return the configuration of a run from its folder, wherever the folder now lies.

    Raises:
        UserError: if it is no run folder.
    """
    source = run / "config.yaml"
    if not source.is_file():
        raise UserError(f"{run} is not a run folder (it has no config.yaml): name the folder given as `run`.")
    return load_config(source, overrides).model_copy(update={"run": str(run)})


def recipe_of(config: RunConfig) -> str:
    """Return the hash of all that decides what is learned, defaults included.

    So a run can be taken up with the configuration that it was started with, and with the full tree in its folder.
    """
    tree: dict[str, Any] = full_tree(config)
    for key in _NOT_RECIPE:
        tree.pop(key)
    for key in _NOT_RECIPE_TRAINING:
        tree["training"].pop(key)
    tree["training"]["recompute"] = False  # out of memory, a run goes on with it, and with the recipe that it had
    for data in (tree["data"], *tree["data"]["sets"].values()):
        for key in ("cache", "hashes"):
            data.pop(key)
        # A run without them has the recipe that it had before there were any.
        for key in ("sets", "part", "namespace", "replays"):
            if not data[key]:
                data.pop(key)
        if data["layout"] is not None:
            data["layout"].pop("workers", None)
    for phase in tree["phases"]:
        if phase["sampler"] is None:
            phase.pop("sampler")
        for objective in phase["objectives"]:
            if objective["weight"] == 1:
                objective.pop("weight")
    for each in (tree, *tree["phases"]):
        if each["optimiser"] and not each["optimiser"]["options"]:
            each["optimiser"].pop("options")
    return hash_of(tree)


def full_tree(config: RunConfig) -> dict[str, object]:
    """Return the tree with every default of every component filled in, as it is written into the run folder.

    Raises:
        ConfigError: for the faults of all components at once, each with its path and the nearest right name.
    """
    tree = config.model_dump(mode="json")
    if faults := fill_components(tree):
        raise ConfigError(" ".join(faults))
    return tree
