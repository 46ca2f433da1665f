"""The one feature pass: batches through a model into a table; clusters, probes, evaluators and the index eat tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch

from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.core.keys import Key, Plan
from medvlp.core.modes import evaluating
from medvlp.core.parts import collect_parts
from medvlp.core.protocols import Model, Teacher
from medvlp.core.sample import Batch, Column
from medvlp.core.table import FeatureTable, concatenate_rows


def feature_pass(
    model: Model,
    batches: Iterable[Batch],
    needs: Iterable[Key],
    *,
    teachers: Mapping[str, Teacher] | None = None,
    meta: Mapping[str, object] | None = None,
) -> FeatureTable:
    """Encode batches in evaluation mode and collect the needs: a table of one row a sample and one column a key.

    Args:
        model: on its device; its mode is put back afterwards.
        batches: each sample once.
        needs: keys of views and batch fields. A sample without the view gets a row of NaN; words stay words.
        teachers: by name, those that keys ask: ``frozen:image/embedding``.
        meta: about the making, stored with the table.

    Raises:
        ConfigError: if a view has several rows for a sample, or a key asks a teacher that is not there.
    """
    plan, taught = Plan.of(needs), dict(teachers or {})
    model.check(plan)
    for name, asked in plan.teachers.items():
        if name not in taught:
            raise ConfigError(f"The feature pass asks a teacher {name!r}: {did_you_mean(name, taught)}.")
        taught[name].check(asked)
    device = next(model.parameters()).device
    ids: list[str] = []
    columns: dict[str, list[np.ndarray]] = {}
    words: dict[str, list[str]] = {}
    fields: dict[str, list[Column]] = {}
    with evaluating(model), torch.inference_mode():
        for batch in batches:
            moved = batch.to(device)
            parts = collect_parts(model.finish(model(moved, plan), plan), plan.views)
            for name, asked in plan.teachers.items():
                parts |= collect_parts(taught[name].encode(moved, asked), asked.views, who=name)
            ids.extend(batch.ids)
            for key, part in parts.items():
                rows = _one_row_each(part.values, part.owner, batch.size, str(key))
                columns.setdefault(str(key), []).append(rows)
            for name in plan.fields:
                if name in batch and isinstance(batch[name].values, torch.Tensor):
                    owner = batch[name].owner + len(ids) - batch.size
                    fields.setdefault(name, []).append(Column(batch[name].values, owner))
                else:
                    words.setdefault(name, []).extend(batch.strings(name))
    made: dict[str, np.ndarray | list[str]] = {name: concatenate_rows(pieces) for name, pieces in columns.items()}
    for name, pieces in fields.items():
        values = torch.from_numpy(concatenate_rows([np.asarray(piece.values) for piece in pieces]))
        made[name] = _one_row_each(values, torch.cat([piece.owner for piece in pieces]), len(ids), name)
    return FeatureTable(ids, {**words, **made}, meta or {})


def _one_row_each(values: torch.Tensor, owner: torch.Tensor, size: int, key: str) -> np.ndarray:
    if len(torch.unique(owner)) != len(owner):
        raise ConfigError(f"Key {key!r} has several rows for one sample: pool them in a head before a feature pass.")
    rows = np.full((size, *values.shape[1:]), np.nan, dtype=np.float32)
    rows[owner.cpu().numpy()] = values.float().cpu().numpy()
    return rows
