"""Patches by view, their parts and shared modules: gradients that depend on neither processes nor chunks."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from medvlp.core.errors import UserError
from medvlp.training.checkpoints import latest, load_checkpoint
from medvlp.training.trainer import Trainer
from tests.methods.world import CASES, MAPLE, methods, step
from tests.models.words import VIT
from tests.training.runs import MODEL, final_hashes, finish, make_setup
from tests.training.world import worst

_LONG = "questions by bilinear attention"
SOME = [pytest.param(case, marks=[pytest.mark.slow] * (case == _LONG)) for case in CASES]


@cache
def reference(case: str) -> dict[str, Any]:
    return step(case, 1)


def check(case: str, got: dict[str, Any]) -> None:
    expected = reference(case)
    assert worst(expected["gradients"], got["gradients"], relative=1e-10, absolute=1e-13) == ""
    assert got["loss"] == pytest.approx(expected["loss"], rel=1e-10)
    assert got["terms"] == pytest.approx(expected["terms"], rel=1e-10)


@pytest.mark.parametrize("chunks", [2, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", SOME)
def test_one_chunk_is_several(case: str, chunks: int) -> None:
    check(case, step(case, chunks))


@pytest.mark.slow
@pytest.mark.pool
@pytest.mark.parametrize(("processes", "chunks"), [(2, 1), (4, 1), (2, 2)])
@pytest.mark.parametrize("case", SOME)
def test_one_process_is_several(pool: Any, case: str, processes: int, chunks: int) -> None:
    for got in pool.run(processes, step, case, chunks):
        check(case, got)


@pytest.mark.parametrize("case", CASES)
def test_what_the_method_adds_is_trained(case: str) -> None:
    own = {
        n: g
        for n, g in reference(case)["gradients"].items()
        if any(word in n for word in (".patches.", ".shared.", ".captioner.", ".routed."))
    }
    assert own
    assert all(gradient.abs().max() > 1e-9 for gradient in own.values())


@pytest.mark.slow
def test_a_run_with_shared_modules_and_patches_by_view_resumes_bit_for_bit(tmp_path: Path) -> None:
    prompts = [{**spec, "view": spec["kind"]} for spec in MAPLE]
    experts = {"name": "experts", "kind": "text", "experts": 2}
    spec = {
        **MODEL,
        "vision": {**VIT, "image_size": 32},
        "projection": {"name": "fdt", "codes": 12, "temperature": 1.0},
    }
    spec |= {"patches": [*prompts, experts]}
    with methods():
        finish(tmp_path / "whole", spec=spec)
        for stop in (24, 56):
            run = tmp_path / str(stop)
            with pytest.raises(UserError, match="interrupted"):
                Trainer(make_setup(run, spec=spec)).fit(stop_at=stop)
            finish(run, spec=spec)
            assert final_hashes(run) == final_hashes(tmp_path / "whole")
        weights = load_checkpoint(latest(tmp_path / "whole")).weights
    for name in ("shared.codebook.codes", "shared.maple.prompts.0", "shared.maple.couple.1.weight"):
        assert sum(key.endswith(name.partition(".")[2]) for key in weights) == 1
        assert f"model.{name}" in weights
