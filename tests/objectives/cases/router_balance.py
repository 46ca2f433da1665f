"""A phase before upcycling, one in which an expert is trained, and one in which routers are, beside CLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medvlp.core.protocols import Objective
from medvlp.core.registry import build
from tests.models.words import DUAL, VIT
from tests.objectives.cases import pairs
from tests.training.methods import BATCH, Method


def upcycled(kind: str, **options: Any) -> Method:
    def objectives() -> Sequence[Mapping[str, Objective]]:
        clip = build("objectives", {"name": "clip"}, where="test")
        balance = build("objectives", {"name": "router_balance", "view": kind}, where="test")
        return [{"clip": clip}, {"clip": clip}, {"clip": clip, "balance": balance}]

    upcycle = {"name": "upcycle", "kind": kind}
    phases = [
        {"until": BATCH},
        {
            "until": 2 * BATCH,
            "surgery": ({**upcycle, "experts": 2, "top": None},),
            "trainable": ("!*", f"model.towers.{kind}.*.mlp.experts.1.*"),
        },
        {
            "until": 4 * BATCH,
            "surgery": ({**upcycle, "experts": 3, "top": 2},),
            "trainable": ("*", f"!model.towers.{kind}.*.mlp.experts.0.*"),
        },
    ]
    return Method(
        columns=pairs, objectives=objectives, phases=phases, states={"ema": {"name": "ema", "horizon": 40.0}}, **options
    )


CASES = {"text": upcycled("text"), "image": upcycled("image", spec={**DUAL, "vision": {**VIT, "image_size": 32}})}
