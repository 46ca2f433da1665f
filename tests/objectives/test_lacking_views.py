"""A step, or a process, whose samples all lack one view: films without reports are as good as reports without films."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medvlp.core import Column
from medvlp.core.errors import ConfigError
from medvlp.core.fields import parse_field
from medvlp.core.sample import ImageRecord
from medvlp.training.task import Task
from tests.objectives.cases import cases
from tests.training.methods import BATCH, COHORT, Method, batch_of, check_same, make_setup, train

NAMES = ("clip", "siglip", "unime", "simlap", "koleo", "cloc", "grain", "dito_detector", "rlipv2", "pe_net")
NAMES += ("mgca", "interclr", "sycoca", "pixpro", "caption", "close", "maccap", "cgt_gan")
# What is learned of the other view alone, which goes on.
GO_ON = {
    ("cgt_gan", "text"): {"reward", "style", "fake"},
    ("cgt_gan", "image"): {"real"},
    ("caption", "text"): {"binary"},
}
TOGETHER = ("clim", "swalip")  # some of their views come together
FIRST_HALF = BATCH // 2


def views_of(name: str, method: Method) -> list[str]:
    """Return the views that an objective reads and that samples have."""
    columns = method.columns(torch.arange(BATCH), torch.float64)
    return sorted({key.view for key in method.objectives()[0][name].needs()} & {*columns} - {*_others(columns)})


def _others(columns: dict[str, Column]) -> list[str]:
    return [name for name in columns if parse_field(name).kind not in ("image", "text")]


def each_view(names: tuple[str, ...]) -> list[tuple[str, str, str]]:
    return [(name, case, view) for name in names for case in cases(name) for view in views_of(name, cases(name)[case])]


def lacking(method: Method, view: str, *, least: int = 0) -> Method:
    """Return the method on samples of which only the first `least` of each batch have the view."""

    def columns(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
        made = method.columns(indices, dtype)
        column = made.pop(view)
        there = indices[column.owner] % BATCH < least
        if not bool(there.any()):
            return made
        values, rows = column.values, there.nonzero()[:, 0].tolist()
        kept = values[rows] if isinstance(values, Tensor) else tuple(values[row] for row in rows)
        return {**made, view: Column(kept, column.owner[there])}

    def records(indices: Tensor) -> dict[str, tuple[ImageRecord, ...]]:
        made = method.records(indices)
        there = (indices[method.columns(indices, torch.float64)[view].owner] % BATCH < least).tolist()
        kept = tuple(each for each, keep in zip(made.pop(view, ()), there, strict=False) if keep)
        return {**made, view: kept} if kept else made

    return replace(method, columns=columns, records=records)


def step(method: Method, run: Path, whole: Method | None = None) -> tuple[dict[str, float], list[Tensor]]:
    """Return the terms of one step and all gradients; feature passes read the cohort of `whole`."""
    setup = make_setup(method, run)
    phase = setup.phases[0]
    cohort = [batch_of(whole or method, torch.arange(COHORT), torch.float64)]
    for refresh in phase.refresh:
        assert setup.feature_pass is not None
        state = setup.states[refresh.state]
        state.refresh(setup.feature_pass(setup.model, state.refresh_needs(), cohort))
    task = Task(
        model=setup.model,
        objectives=phase.objectives,
        states=setup.states,
        seed=setup.seed,
        chunks=1,
        precision=setup.precision,
        batch_views=phase.batch_views,
    )
    log = task.backward(next(iter(phase.batches(0))), dict.fromkeys(phase.objectives, 1.0), samples_seen=0)
    return dict(log.terms), [p.grad for p in task.parameters() if p.grad is not None]


@pytest.mark.parametrize(("name", "case", "view"), each_view(NAMES))
def test_a_step_without_a_view_teaches_nothing(name: str, case: str, view: str, tmp_path: Path) -> None:
    """A term of no rows has a count of 0: its value is 0, and gradients are those of what else is learned."""
    method = cases(name)[case]
    terms, gradients = step(lacking(method, view), tmp_path, whole=method)
    go_on = {f"{name}/{part}" for part in GO_ON.get((name, view), ())}
    assert {value for key, value in terms.items() if key.startswith(f"{name}/") and key not in go_on} == {0.0}
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize(("name", "case", "view"), each_view(TOGETHER))
def test_views_that_must_come_together_say_so(name: str, case: str, view: str, tmp_path: Path) -> None:
    """Samples without their one text are fine; one of two swapped views, or a mosaic's pictures, must be there."""
    method = lacking(cases(name)[case], view)
    if view == "text":
        assert not any(step(method, tmp_path)[0].values())
    else:
        with pytest.raises(ConfigError, match=r"rows are of different samples|needs one 'image' of each sample"):
            step(method, tmp_path)


def run(name: str, case: str, view: str, folder: str) -> dict[str, Any]:
    return train(lacking(cases(name)[case], view, least=FIRST_HALF), folder)


HALF = [
    ("unime", "hard", "text"),
    pytest.param("unime", "filtered", "image", marks=pytest.mark.slow),
    pytest.param("simlap", "reports", "text", marks=pytest.mark.slow),
    ("koleo", "patients", "image"),
    pytest.param("cloc", "boxes", "image", marks=pytest.mark.slow),
    ("grain", "boxes", "image"),
    pytest.param("dito_detector", "proposals", "image", marks=pytest.mark.slow),
    pytest.param("rlipv2", "boxes", "image", marks=pytest.mark.slow),
    pytest.param("unime_distill", "stored", "vector.teacher", marks=pytest.mark.slow),
]


@pytest.mark.pool
@pytest.mark.parametrize(("name", "case", "view"), HALF)
def test_a_process_without_a_view_takes_part(pool: Any, name: str, case: str, view: str, tmp_path: Path) -> None:
    """The second process has none of the view, and what the first compares with others is as on one process."""
    expected = run(name, case, view, str(tmp_path / "one"))
    for got in pool.run(2, run, name, case, view, str(tmp_path / "two")):
        check_same(expected, got)
