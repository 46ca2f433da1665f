"""Numbers that papers and their authors' code give are the defaults of the options that stand for them."""

from __future__ import annotations

from math import log

import pytest

from medvlp.core.registry import schema
from medvlp.state._anchors import Anchors

CLASSIFIER = {"temperature": 0.1, "width": 128}
DINO = {"student_temperature": 0.1, "teacher_temperature": 0.04, "hidden": 2048, "layers": 3, "bottleneck": 256}
SWAV = {"temperature": 0.1, "epsilon": 0.05, "iterations": 3, "hidden": 2048, "width": 128}
PUBLISHED: dict[str, dict[str, object]] = {
    "adaptation/gda": {"weights": (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)},
    "curation/realsyn": {"nearest": 3, "cap": 35},  # of the set of 30 million
    "measures/blind_pairs": {"alike": 0.95, "apart": 0.6},
    "models/heads/dense_clip": {"decoder_width": 256, "decoder_layers": 3, "heads": 4, "dropout": 0.1},
    "models/heads/fdt": {"codes": 16384, "temperature": 1000.0, "activation": "sparsemax"},
    "models/heads/mit": {"layers": 1},
    "models/heads/pixel_propagation": {"gamma": 2.0},
    "models/heads/video_prompt": {"layers": 2, "alpha": 0.1},
    "models/patches/coop": {"tokens": 16, "position": "end", "specific": False},
    "models/surgery/stretch_positions": {"keep": 20, "ratio": 4},
    "models/surgery/upcycle": {"experts": 4, "top": 2},
    "objectives/alip": {"horizon": pytest.approx(-4096 / log(0.99), rel=1e-5)},  # 0.99 a step of 4,096
    "objectives/capro": {**CLASSIFIER, "beta": 0.1, "alpha": 0.5, "hidden": 2048},
    "objectives/clip_refine": {"alpha": 0.5, "temperature": 1.0, "random_weight": 1.0, "mean": 0.0, "deviation": 1.0},
    "objectives/cloc": {"most": 4, "same_above": 0.9, "place": 1.0},
    "objectives/degla": {  # a sum at 0.005 over batches of 256
        "image_grounded": 0.1,
        "text_grounded": 0.1,
        "text_scale": 10.0,
        "distillation": pytest.approx(0.005 * 256),
    },
    "objectives/dino": {**DINO, "prototypes": 65536},
    "objectives/distill": {"temperature": 2 / 100},  # 2, of logits at scale 100
    "objectives/dreamlip": {"threshold": 0.0},
    "objectives/fopro": {**CLASSIFIER, "relation_hidden": 128},
    "objectives/gpc": {"balance": 0.35},
    "objectives/ins": {"contrast_weight": 0.5, "bag_weight": 0.5, "temperature": 0.07, "width": 128},
    "objectives/long_clip": {"components": 32, "short_weight": 1.0, "label_smoothing": 0.1},
    "objectives/mlcd": {"sampled": 0.1},
    "objectives/pixpro": {"distance": 0.7, "gamma": 2.0, "hidden": 4096, "width": 256},
    "objectives/protoclip": {
        "target_temperature": 0.01,
        "external_weight": 1.0,
        "hidden": 2048,
        "width": 128,
        "layers": 2,
    },
    "objectives/swav": SWAV,
    "objectives/unime": {"negatives": 8, "margin": 0.1},
    "state/class_prototypes": {"keep": 1 / 2, "relabel": 0.6},  # 1 / K, of present and absent
    "state/clusters": {"samples_per_cluster": 10, "iterations": 20, "restarts": 3},
    "state/ema": {"centre_horizon": pytest.approx(-1024 / log(0.9), rel=1e-4)},  # 0.9 a step of 1,024
    "state/gpc": {"psi": 0.005},
    "state/mcl": {"clusters": 3},
    "state/queue": {"size": 3840},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_default_is_the_published_number(name: str) -> None:
    fields = schema(*name.rsplit("/", 1)).model_fields
    assert {option: fields[option].default for option in PUBLISHED[name]} == PUBLISHED[name]


def test_anchors_are_capros() -> None:
    found = Anchors()
    assert (found.each, found.neighbours, found.inner) == (50, 20, 6)
