"""Patches by view, their parts and shared modules: gradients that depend on neither processes nor chunks."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from tests.methods.world import CASES, step
from tests.training.world import worst


@cache
def reference(case: str) -> dict[str, Any]:
    return step(case, 1)


def check(case: str, got: dict[str, Any]) -> None:
    expected = reference(case)
    assert worst(expected["gradients"], got["gradients"], relative=1e-10, absolute=1e-13) == ""
    assert got["loss"] == pytest.approx(expected["loss"], rel=1e-10)
    assert got["terms"] == pytest.approx(expected["terms"], rel=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_one_chunk_is_several(case: str) -> None:
    for chunks in (2, 4):
        check(case, step(case, chunks))


@pytest.mark.pool
@pytest.mark.parametrize("case", CASES)
def test_one_process_is_several(pool: Any, case: str) -> None:
    for processes, chunks in ((2, 1), (4, 1), (2, 2)):
        for got in pool.run(processes, step, case, chunks):
            check(case, got)


@pytest.mark.parametrize("case", CASES)
def test_what_the_method_adds_is_trained(case: str) -> None:
    own = {n: g for n, g in reference(case)["gradients"].items() if ".patches." in n or ".shared." in n}
    assert own
    assert all(gradient.abs().max() > 1e-9 for gradient in own.values())
