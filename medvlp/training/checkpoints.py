"""Checkpoints: complete or absent, safetensors and JSON only, every byte under a hash.

``checkpoints/step-000123/`` holds ``weights``, ``optimiser`` and ``states`` as safetensors, ``trainer.json`` and
``MANIFEST.json`` (file -> SHA-256). It is written beside, synced, renamed. ``best`` is a link to the one that
validation chose.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from medvlp.core.errors import UserError
from medvlp.core.files import put_in_place, read_json, refuse_write, sha256_of
from medvlp.core.protocols import Model


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        weights: parameters and buffers of the task (model and objectives) by name.
        optimiser: as `optimiser_state` gives it.
        states: ``"state|tensor"`` -> tensor.
        trainer: plain data: samples seen, phase, guard, best so far and by what, recipe hash, heads that were left out.
    """

    weights: Mapping[str, Tensor]
    optimiser: Mapping[str, Tensor]
    states: Mapping[str, Tensor]
    trainer: Mapping[str, Any]

    def state_of(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of a state, as its `state_dict` gave them."""
        return {key.removeprefix(f"{name}|"): t for key, t in self.states.items() if key.startswith(f"{name}|")}


_PARTS = ("weights", "optimiser", "states")


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint whole.

    Raises:
        UserError: when the disk is full; the checkpoints that were complete stay.
    """
    temporary = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        for part in _PARTS:
            tensors = getattr(checkpoint, part)
            # safetensors refuses tensors that share memory: every one is written as its own.
            own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
            save_file(own, temporary / f"{part}.safetensors")
        (temporary / "trainer.json").write_text(json.dumps(dict(checkpoint.trainer), indent=1))
        hashes = {path.name: sha256_of(path) for path in sorted(temporary.iterdir())}
        (temporary / "MANIFEST.json").write_text(json.dumps(hashes, indent=1))
        put_in_place(temporary, folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        refuse_write(error, folder)


def refuse_other_recipe(run: Path, recipe: str) -> None:
    """Refuse a run folder whose newest checkpoint is of another configuration, before anything in it is touched.

    Raises:
        UserError: if it is.
    """
    folder = latest(run)
    found = None if folder is None else read_json(folder / "trainer.json").get("recipe")
    if found is not None and found != recipe:
        raise UserError(
            f"{run} holds a run of another configuration (recipe {found}, now {recipe}): choose another run folder, "
            "or resume with the config.yaml that lies in it."
        )


def refuse_other_choice(trainer: Mapping[str, Any], choose: str, *, run: Path) -> None:
    """Refuse to go on by another metric than that by which the best checkpoint was chosen so far; the two are no match.

    Raises:
        UserError: if a best one was chosen, by another metric.
    """
    before = trainer.get("choose", choose)
    if trainer["best_value"] is not None and before != choose:
        raise UserError(
            f"The best checkpoint of {run} was chosen by {before} so far, and {choose or 'nothing'} cannot be compared "
            f"with it: resume with evaluation.choose={before}, or choose another run folder."
        )


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint after checking every file against its hash.

    Raises:
        UserError: if a file is missing, damaged or differs from its hash.
    """
    manifest = folder / "MANIFEST.json"
    if not manifest.is_file():
        raise UserError(f"{folder} is not a checkpoint (it has no MANIFEST.json): name a folder checkpoints/step-*.")
    for name, expected in read_json(manifest).items():
        path = folder / name
        if not path.is_file() or sha256_of(path) != expected:
            raise UserError(
                f"{path} is damaged or was changed since it was written (its SHA-256 differs from the manifest's): "
                "resume from another checkpoint of the run."
            )
    tensors = {part: load_file(folder / f"{part}.safetensors") for part in _PARTS}
    return Checkpoint(**tensors, trainer=read_json(folder / "trainer.json"))


def leave_unchanged(weights: Mapping[str, Tensor], model: Model) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return what a checkpoint must hold: all but frozen heads that a file holds, whose hashes are kept instead.

    Args:
        weights: of the task, by name.
        model: of it.

    Returns:
        Weights, and head -> SHA-256 of its file.
    """
    unchanged = dict(model.unchanged_heads())
    prefixes = tuple(f"model.heads.{name}." for name in unchanged)
    return {n: t for n, t in weights.items() if not (prefixes and n.startswith(prefixes))}, unchanged


def complete_weights(checkpoint: Checkpoint, model: Model, *, source: Path) -> dict[str, Tensor]:
    """Return a checkpoint's weights with those that were left out, as the model has read them from their files.

    Raises:
        UserError: if a file is not the one that the run was trained with.
    """
    left: dict[str, str] = checkpoint.trainer.get("left_out") or {}
    loaded = model.loaded_heads()
    for name, sha256 in left.items():
        if loaded.get(name) != sha256:
            raise UserError(
                f"{source} was trained with other weights of the head {name!r} (SHA-256 {sha256[:12]}) than its file "
                f"now holds: put that file back."
            )
    prefixes = tuple(f"heads.{name}." for name in left)
    own = {f"model.{n}": t for n, t in model.state_dict().items() if prefixes and n.startswith(prefixes)}
    return {**own, **checkpoint.weights}


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], *, source: Path) -> None:
    """Copy weights into a module of the same architecture.

    Raises:
        UserError: naming the first parameters that are missing, left over or of another shape.
    """
    own = module.state_dict()
    missing, extra = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    shapes = [n for n in own if n in weights and own[n].shape != weights[n].shape]
    if missing or extra or shapes:
        faults = [
            f"{len(names)} {what} (first: {names[0]})"
            for names, what in ((missing, "missing"), (extra, "unknown"), (shapes, "of another shape"))
            if names
        ]
        raise UserError(
            f"{source} holds another model than the configuration describes: {'; '.join(faults)}; "
            "write `model` as the config.yaml of its run has it, or the bundle.yaml of a bundle."
        )
    module.load_state_dict(dict(weights))


def latest(run: Path) -> Path | None:
    """Return the newest complete checkpoint of a run, or None."""
    found = sorted((run / "checkpoints").glob("step-*/MANIFEST.json"))
    return found[-1].parent if found else None


def point_best(folder: Path) -> None:
    """Let ``best`` point to a checkpoint, atomically.

    Raises:
        UserError: where the file system has no symbolic links.
    """
    link = folder.parent / ".best.part"
    link.unlink(missing_ok=True)
    try:
        link.symlink_to(folder.name)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOSYS, errno.ENOTSUP):
            raise UserError(f"{link} cannot be a symbolic link on this disk: choose a run folder on another.") from None
        refuse_write(error, link)
    os.replace(link, folder.parent / "best")


def prune(run: Path, *, keep: int) -> None:
    """Remove all but the last `keep` checkpoints and the best one, and what writers that were killed left."""
    folder = run / "checkpoints"
    best = (folder / "best").resolve() if (folder / "best").is_symlink() else None
    complete = sorted(path.parent for path in folder.glob("step-*/MANIFEST.json"))
    for old in complete[: max(len(complete) - keep, 0)]:
        if old.resolve() != best:
            os.replace(old, old.with_name(f".{old.name}.old"))  # killed here, it leaves no half checkpoint
    for gone in (*folder.glob(".step-*.old"), *folder.glob(".step-*.part")):
        shutil.rmtree(gone)
