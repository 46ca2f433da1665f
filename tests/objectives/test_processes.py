"""Value and every gradient, scale and bias included, do not depend on how samples are divided among processes."""

from __future__ import annotations

import pytest
import torch

from tests.objectives.world import SAMPLES, step

SPECS = [
    {"name": "clip"},
    {"name": "clip", "positives": "own", "exclude": "same_patient", "label_smoothing": 0.1},
    {"name": "clip", "positives": "same_study", "reading": "any", "positive_in_denominator": False},
    {"name": "clip", "positives": "shared_labels", "exclude": "same_report", "reading": "each"},
    {"name": "clip", "score": "late_interaction"},
    {"name": "hard_negatives"},
    {"name": "siglip"},
    {"name": "siglip", "positives": "own", "exclude": "same_report"},
]


@pytest.mark.pool
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: "-".join(map(str, spec.values())))
def test_one_process_is_two_is_four_with_unequal_rows(pool, spec):
    expected = step(spec, [0, SAMPLES])
    assert all(gradient.abs().max() > 1e-6 for name, gradient in expected.items() if name != "scale.bias")
    # The last has a process with a single sample that has no text, and one with no sample's text but its own.
    for bounds in ([0, SAMPLES], [0, 2, SAMPLES], [0, 6, SAMPLES], [0, 1, 3, 4, SAMPLES], [0, 3, 5, 6, SAMPLES]):
        for got in pool.run(len(bounds) - 1, step, spec, bounds):
            for name, value in expected.items():
                torch.testing.assert_close(got[name], value, rtol=1e-10, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")
