"""Several crops a sample, centred by a running mean under a ramp, or by equal shares."""

from __future__ import annotations

from tests.objectives.cases import crops, method

SMALL = {"hidden": 12, "bottleneck": 6, "prototypes": 10}
RAMP = {"start": 0.04, "end": 0.07, "until": 16}
CENTRED = {"name": "ema", "horizon": 60.0, "centre": ["image.large/dino"], "centre_horizon": 40.0}
CASES = {
    "mean": method({"name": "dino", "teacher_temperature": RAMP, **SMALL}, columns=crops, states={"ema": CENTRED}),
    "sinkhorn": method(
        {"name": "dino", "large": ["image", "image.large"], "small": [], "centring": "sinkhorn", **SMALL},
        columns=crops,
        states={"ema": {"name": "ema", "horizon": 60.0}},
    ),
}
