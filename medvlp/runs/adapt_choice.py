"""Which adapter: each tried on folds of the training patients, from cheap to dear, and stored."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from medvlp.adaptation._adapter import Adapted, Adapter, Folded
from medvlp.core.answers import ProbeTable
from medvlp.core.errors import ConfigError, UserError, did_you_mean
from medvlp.core.files import written_whole
from medvlp.core.provenance import code_hash, hash_of
from medvlp.core.registry import available, build, component
from medvlp.data.manifest import Manifest
from medvlp.data.splits import make_split

logger = logging.getLogger(__name__)

#: From cheap to dear.
ADAPTERS = ("linear", "gda", "ensemble", "tip", "tip_tuned", "residual")


@dataclass(frozen=True)
class Tried:
    """One adapter that was tried, with its validation score.

    Attributes:
        name: component of `medvlp.adaptation`.
        folded: the adapter.
        macro: mean AUROC over findings, folds pooled.
        seconds: that it took.
    """

    name: str
    folded: Folded
    macro: float
    seconds: float


def folds_of(manifest: Manifest, folds: int, *, seed: int) -> np.ndarray:
    """Return the fold (N,) of each record, equal for all of a patient, labels evenly over folds.

    Raises:
        UserError: if no finding has a patient for each fold.
    """
    patients = manifest.column("id.patient")
    most = max(len(set(patients[manifest.column(name) == 1])) for name in manifest.names_of("label"))
    if most < folds:
        raise UserError(
            f"No finding has more than {most} training patients with it, and {folds} folds need one each: take fewer "
            "by --folds, or name more films train in the column split."
        )
    fold_of: dict[str, int] = {}
    for fold in range(folds):
        spec = {"name": "kfold", "folds": folds, "fold": fold, "validation": False, "stratify": True, "seed": seed}
        fold_of |= dict.fromkeys(make_split(manifest, spec).parts["test"], fold)
    return np.array([fold_of[record] for record in manifest.column("id")])


def adapters_of(names: Sequence[str]) -> list[tuple[str, Adapter]]:
    """Return the adapters of some names.

    Raises:
        ConfigError: if one is no adapter.
    """
    found = []
    for name in names:
        if not _is_adapter(name):
            there = filter(_is_adapter, available("adaptation"))
            raise ConfigError(f"--adapter {name!r} is no adapter: {did_you_mean(name, there)}.")
        found.append((name, build("adaptation", {"name": name}, where="--adapter")))
    return found


def _is_adapter(name: str) -> bool:
    part = component("adaptation", name) if name in available("adaptation") else None
    return inspect.isclass(part) and issubclass(part, Adapter)


def fittable(names: Sequence[str], *, words: bool) -> list[tuple[str, Adapter]]:
    """Return the adapters that can be fitted; those that cannot are logged.

    Args:
        names: components of `medvlp.adaptation`.
        words: whether the model has a text vector of every finding.

    Raises:
        ConfigError: if one is no adapter.
        UserError: if none can be fitted.
    """
    asked = adapters_of(names)
    found = [(name, adapter) for name, adapter in asked if words or not adapter.needs_words]
    if not found:
        raise UserError(
            "None of the adapters asked for can be fitted: they start from words, and the model does not tell every "
            "finding by words. Name others, such as --adapter linear."
        )
    for name, _ in asked:
        if name not in dict(found):
            logger.info(f"{name}: not tried, it starts from words, by which the model does not tell every finding.")
    return found


def choose_adapter(
    table: ProbeTable,
    folds: np.ndarray,
    bank: Mapping[str, np.ndarray],
    *,
    folder: Path,
    names: tuple[str, ...] = ADAPTERS,
    until: float = float("inf"),
) -> tuple[Tried, tuple[Tried, ...]]:
    """Return the adapter with the best mean AUROC over folds pooled, the first of equal ones, and all that were tried.

    Args:
        table: of training patients.
        folds: (N,) of its rows.
        bank: finding -> text vector; adapters that start from words are left out where one is missing.
        folder: in which each is stored once it is tried, and found again.
        names: components of `medvlp.adaptation`, in the order in which they are tried.
        until: moment of `time.monotonic` after which none is begun; the first always is.

    Raises:
        UserError: see `fittable`.
    """
    found: list[Tried] = []
    for name, adapter in fittable(names, words=all(label in bank for label in table.labels)):
        if found and time.monotonic() > until:
            logger.info(f"{name}: not tried, the minutes are over.")
            continue
        each = _tried(name, adapter, table, folds, bank, folder)
        values = ", ".join(f"{n} {v:.3f}" for n, v in each.folded.answer.validation_auroc.items())
        logger.info(f"{name}: AUROC {each.macro:.3f} over folds ({values}), {each.seconds:.0f} s")
        found.append(each)
    return max(found, key=lambda each: each.macro), tuple(found)  # of equal ones the first


def _tried(
    name: str, adapter: Adapter, table: ProbeTable, folds: np.ndarray, bank: Mapping[str, np.ndarray], folder: Path
) -> Tried:
    """Try one, or take it from where it is stored."""
    began = time.monotonic()
    arrays = {"features": table.features, "folds": folds, **table.labels, **{f"bank.{n}": v for n, v in bank.items()}}
    hashes = {
        n: hashlib.sha256(np.ascontiguousarray(v, dtype=np.float64).tobytes()).hexdigest() for n, v in arrays.items()
    }
    key = hash_of([name, hashes, code_hash("adaptation", "evaluation", "models")])
    path = folder / f"{name}-{key}.safetensors"
    if path.is_file():
        folded, seconds = _stored(adapter, path)
    else:
        folded = adapter.fit_folds(table, folds, bank)
        answer, seconds = folded.answer, time.monotonic() - began
        own = {f"tensor/{n}": np.asarray(v, order="C") for n, v in answer.tensors.items()}
        own |= {f"score/{n}": np.asarray(v, order="C") for n, v in folded.scores.items()}
        facts = {"chosen": dict(answer.chosen), "auroc": dict(answer.validation_auroc), "seconds": seconds}
        facts |= {"labels": list(answer.labels), "left_out": dict(answer.left_out)}
        with written_whole(path) as temporary:
            save_file(own, temporary, metadata={"facts": json.dumps(facts)})
    values = [v for v in folded.answer.validation_auroc.values() if np.isfinite(v)]
    return Tried(name, folded, float(np.mean(values)) if values else 0.5, seconds)


def _stored(adapter: Adapter, path: Path) -> tuple[Folded, float]:
    with safe_open(path, framework="numpy") as opened:
        facts = json.loads(opened.metadata()["facts"])
        arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (it is no mapping)
    answer = Adapted(
        facts["labels"],
        adapter.head,
        {n.removeprefix("tensor/"): v for n, v in arrays.items() if n.startswith("tensor/")},
        title=adapter.title,
        chosen=facts["chosen"],
        validation_auroc=facts["auroc"],
        left_out=facts["left_out"],
        refitted=True,
    )
    scores = {n.removeprefix("score/"): v for n, v in arrays.items() if n.startswith("score/")}
    return Folded(answer, scores), float(facts["seconds"])
