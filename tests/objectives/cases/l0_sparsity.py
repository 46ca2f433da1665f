"""Gates that close in the second phase and are taken out in the third."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medvlp.core.protocols import Objective
from medvlp.core.registry import build
from tests.objectives.cases import pairs
from tests.training.methods import BATCH, Method


def objectives() -> Sequence[Mapping[str, Objective]]:
    clip = build("objectives", {"name": "clip"}, where="test")
    close = build("objectives", {"name": "l0_sparsity", "until": BATCH, "target": 0.5, "start": BATCH}, where="test")
    return [{"clip": clip}, {"clip": clip, "close": close}, {"clip": clip}]


CASES = {
    "text": Method(
        columns=pairs,
        objectives=objectives,
        phases=[
            {"until": BATCH},
            {"until": 4 * BATCH, "surgery": ({"name": "learn_masks", "kind": "text"},)},
            {
                "until": 5 * BATCH,
                "surgery": ({"name": "weight_inheritance", "kind": "text", "heads": 0.5, "channels": 0.75},),
            },
        ],
        states={"ema": {"name": "ema", "horizon": 40.0}},
    )
}
