"""The recipe of a run: the tree with every default, and the hash of all in it that decides what is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medvlp.config.tree import RunConfig, load_config
from medvlp.core.errors import ConfigError, UserError
from medvlp.core.provenance import hash_of
from medvlp.core.registry import available, fill
from medvlp.training.optimisation import check_options

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
    faults: list[str] = []

    def filled(folder: str, spec: Mapping[str, Any], where: str, own: tuple[str, ...] = ()) -> dict[str, Any]:
        try:
            checked = fill(folder, {key: value for key, value in spec.items() if key not in own}, where=where)
        except ConfigError as error:
            faults.append(str(error))
            return dict(spec)
        return {**checked, **{key: spec[key] for key in own if key in spec}}

    tree["model"] = filled("models/architectures", tree["model"], "model")
    for tower in ("vision", "text"):
        if isinstance(tree["model"].get(tower), Mapping):
            tree["model"][tower] = filled("models/encoders", tree["model"][tower], f"model.{tower}")
    for name, bank in tree["banks"].items():
        if bank["encoder"] is not None:
            bank["encoder"] = filled("models/text_vectors", bank["encoder"], f"banks.{name}.encoder")
    tree["states"] = {name: filled("state", spec, f"states.{name}") for name, spec in tree["states"].items()}
    sets = tree["data"]["sets"]
    for data, where in ((tree["data"], "data"), *((each, f"data.sets.{name}") for name, each in sets.items())):
        if data["layout"] is not None:
            data["layout"] = filled("data/layouts", data["layout"], f"{where}.layout")
        if not data["sets"] and data["part"] is None:
            data["split"] = filled("data/splits", data["split"], f"{where}.split")
    tree["data"]["sampler"] = filled("data/samplers", tree["data"]["sampler"], "data.sampler")
    optimisers = [(tree["optimiser"], config.optimiser, "optimiser")]
    for i, each in enumerate(config.phases):
        if each.optimiser is not None:
            optimisers.append((tree["phases"][i]["optimiser"], each.optimiser, f"phases[{i}].optimiser"))
    for node, options, where in optimisers:
        known = len(faults)
        filled("training/schedules", {"name": node["schedule"]}, f"{where}.schedule")
        own = "options" if node["name"] in available("training/optimisers") else "name"
        node["options"] = filled("training/optimisers", {"name": node["name"], **node["options"]}, f"{where}.{own}")
        node["options"].pop("name")
        try:
            if len(faults) == known:
                check_options(options, where=where)
        except ConfigError as error:
            faults.append(f"{where}: {error}")
    lists: list[tuple[str, dict[str, Any], str, str, tuple[str, ...]]]
    lists = [("data/views", tree["data"], key, f"data.{key}", ()) for key in ("prefix", "suffix")]
    lists.append(("training/trackers", tree["training"], "track", "training.track", ()))
    for i, phase in enumerate(tree["phases"]):
        if phase["sampler"] is not None:
            phase["sampler"] = filled("data/samplers", phase["sampler"], f"phases[{i}].sampler")
        lists.append(("objectives", phase, "objectives", f"phases[{i}].objectives", ("weight", "as")))
        lists.append(("models/patches", phase, "patches", f"phases[{i}].patches", ("view",)))
        lists.append(("models/surgery", phase, "surgery", f"phases[{i}].surgery", ()))
        lists.append(("data/batch_views", phase, "batch_views", f"phases[{i}].batch_views", ()))
    for folder, node, key, where, own in lists:
        node[key] = [filled(folder, spec, f"{where}[{j}]", own) for j, spec in enumerate(node[key])]
    measures = tree["evaluation"]["measures"]
    for name, options in measures.items():
        if options is not None:
            measures[name] = filled("measures", {"name": name, **options}, f"evaluation.measures.{name}")
            measures[name].pop("name")
    if faults:
        raise ConfigError(" ".join(faults))
    return tree
