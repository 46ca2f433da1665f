"""Local terms: value and gradients do not depend on how samples, with unequal rows and lengths, are divided."""

from __future__ import annotations

import pytest
import torch

from tests.objectives.world import SAMPLES, step

SPECS = [{"name": "gloria", "tile": 50, "exclude": "same_patient"}, {"name": "dreamlip"}, {"name": "mgca"}]


@pytest.mark.pool
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["name"])
def test_one_process_is_two_is_four_with_unequal_rows(pool, spec):
    expected = step(spec, [0, SAMPLES])
    towers = {name: gradient for name, gradient in expected.items() if name.endswith("weight")}
    assert all(gradient.abs().max() > 1e-6 for gradient in towers.values())
    for bounds in ([0, 6, SAMPLES], [0, 5, 6, SAMPLES], [0, 1, 3, 4, SAMPLES]):
        for got in pool.run(len(bounds) - 1, step, spec, bounds):
            for name, value in expected.items():
                torch.testing.assert_close(got[name], value, rtol=1e-10, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")
