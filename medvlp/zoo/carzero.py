"""CARZero: ViT-B/16, a BERT and a decoder through which pictures and sentences look at each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from medvlp.core.registry import build
from medvlp.models.bundle import StoredAnswer
from medvlp.zoo._bert_pairs import BertPair, bare_words, importer_of, padded_views
from medvlp.zoo._keys import Rules, by_rules, count, without_twins
from medvlp.zoo._protocol import load_strictly
from medvlp.zoo._release import Release, asked_by_recipe, reworded
from medvlp.zoo._vit import plain_vit

__all__ = ["carzero"]

_RULES: Rules = [(r"decoder\.(.*)", r"decoder.\1"), (r"mlp_head\.(.*)", r"readout.\1")]
_PLACES = 97


def _tower(weights: Mapping[str, Tensor]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    shown = {"image_size": 224, "mean": [0.4978], "std": [0.2449]}
    return {**plain_vit(weights, "img_encoder.model."), **shown}, padded_views(224)


def _heads(weights: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    return {
        "image/raw": {"name": "identity"},
        "image/local": {"name": "identity", "reads": "tokens"},
        "text/local": {"name": "word_sums", "places": _PLACES, "factor": 4.0},
        "text/raw": {"name": "identity", "reads": "local", "mean": True},
    }


def _asked(learnt: Mapping[str, Tensor], source: Path) -> StoredAnswer:
    """Return the answer: the score of "there is X", without the stop that the release takes off."""
    weights, _ = without_twins(learnt, [(r"decoder_norm\.(.*)", r"decoder.norm.\1")])
    feedforward, width = weights["decoder.layers.0.linear1.weight"].shape
    last = count(weights, r"mlp_head\.(\d+)\..*") - 1  # an activation and dropout behind each but the last
    hidden = [len(weights[f"mlp_head.{i}.weight"]) for i in range(0, last, 3)]
    layers = count(weights, r"decoder\.layers\.(\d+)\..*")
    spec = {"name": "cross_decoder", "width": width, "layers": layers, "feedforward": feedforward, "hidden": hidden}
    score: nn.Module = build("models/scores", spec, where="score")
    load_strictly(score, weights, by_rules(_RULES), source=source)
    plain = reworded(asked_by_recipe("carzero_v1"), bare_words)
    options = {"prompts": plain.options["prompts"], "positive_only": True}
    return replace(plain, options=options, score=spec, weights=dict(score.state_dict()))


carzero = importer_of(
    BertPair(
        name="carzero",
        release=Release(title="CARZero", licence="Apache-2.0", citation="Lai et al., CVPR 2024, arXiv 2402.17417."),
        inside=("state_dict",),
        prefix="CARZero.",
        image="img_encoder.model.",
        text="text_encoder.model.",
        unused={
            r"fusion_module\.decoder\.layers\.\d+\.(self_attn|norm1)\..*": None,  # stored and never run
            r"fusion_module\.logit_scale": None,
        },
        tower=_tower,
        heads=_heads,
        pooled={"pool": "mean", "states": [-4, -3, -2, -1]},
        words="Laihaoran/BioClinicalMPBERT",
        length=_PLACES,
        scale=1.0,
        apart="fusion_module.",
        asked=_asked,
        limits=(
            "Its score is a number without bounds; here it passes a sigmoid, which keeps its order. The release takes "
            "a text apart at everything that is no letter or digit: so do the prompts here, and you should of your own."
        ),
    )
)
