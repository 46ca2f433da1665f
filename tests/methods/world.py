"""The recipes of `tests.methods` on the small models and the uneven batch of `tests.training.world`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch

from medvlp.core import Batch, Column
from tests.models.words import DUAL, VIT
from tests.plugins import installed
from tests.training.world import gradients_of, make_task, own_part, whole_batch

COMPONENTS = {
    "coarse_image": "models/heads tests.methods.diva:CoarseImage",
    "reconstruct": "objectives tests.methods.diva:Reconstruct",
    "experts": "models/patches tests.methods.experts:Experts",
    "expert_balance": "objectives tests.methods.experts:RouterBalance",
    "context_tokens": "models/patches tests.methods.context_tokens:ContextTokens",
}

_DUAL = {**DUAL, "vision": {**VIT, "image_size": 32}}
_COOP = {"name": "context_tokens", "kind": "text", "view": "bank.*"}
_DISTILL = {"name": "distill", "teacher": "frozen", "bank": "words", "texts": "student", "temperature": 0.5}
_MASK = {"name": "masked_image", "kind": "image", "view": "image.local", "ratio": [0.3, 0.6]}
_FILL = {"name": "ibot", "teacher": "frozen", "view": "image.local", "hidden": 8, "bottleneck": 4, "prototypes": 6}
_MOE = [{"name": "experts", "kind": kind, "experts": 3} for kind in ("image", "text")]
_BALANCE = {"name": "expert_balance", "views": ["image", "text"]}
_FDT = {"projection": {"name": "fdt", "codes": 12, "temperature": 1.0}, "embed_dim": 8}
MAPLE = [
    {"name": "maple", "kind": kind, "on": on, "view": view, "depth": 2}
    for kind, first, view in (("text", "words.input", "bank.*"), ("image", "tokens.input", "image"))
    for on in (first, "block.before[1]")
]
_PROMPTED = ["model.patches.*", "model.logit_scale.*"]
_LABELS = ("effusion", "nodule", "none")
_PICK = {"name": "classify", "labels": list(_LABELS), "head": {"name": "text_classifier", "bank": "words"}}
_GUIDED = {**_PICK, "head": {"name": "text_guided_classifier", "bank": "words", "heads": 2}}
_ONE = {"kind": "text", "view": "bank.words", "tokens": 2}
_VIEWS = {"strong": "image.strong", "mixed": "image.mixed"}

# name -> (model, objectives, patterns of what trains)
CASES: dict[str, tuple[Mapping[str, Any], list[dict[str, Any]], list[str]]] = {
    "coop": ({**_DUAL, "patches": [_COOP]}, [_DISTILL], _PROMPTED),
    "class-specific coop": (
        {**_DUAL, "patches": [{**_COOP, "view": "bank.words", "specific": True}]},
        [{"name": "clip"}, _DISTILL],
        ["*"],
    ),
    "masked image": ({**_DUAL, "patches": [_MASK]}, [{"name": "clip"}, _FILL], ["*"]),
    "experts": ({**_DUAL, "patches": _MOE}, [{"name": "clip"}, _BALANCE], ["*"]),
    "fdt": ({**_DUAL, **_FDT}, [{"name": "clip"}], ["*"]),
    "maple": ({**_DUAL, "patches": MAPLE}, [_DISTILL], ["model.shared.*"]),
    "texts as classes": (
        {**_DUAL, "patches": [{"name": "coop", **_ONE, "specific": True, "position": "middle"}]},
        [_PICK, {"name": "clip"}],
        ["*"],
    ),
    "cocoop": ({**_DUAL, "patches": [{"name": "cocoop", **_ONE}]}, [_PICK], ["*"]),
    "ctp": ({**_DUAL, "patches": [{"name": "ctp", **_ONE, "heads": 2}]}, [_GUIDED], _PROMPTED),
    "gopro": (
        {**_DUAL, "patches": [{"name": "gopro", **_ONE}]},
        [_PICK, {"name": "gopro", "simclr": 0.5, **_VIEWS}],
        ["model.patches.*", "model.heads.*"],
    ),
    "dora": ({**_DUAL, "patches": [{"name": "dora", "on": "linear[*]", "rank": 2}]}, [{"name": "clip"}], ["*"]),
    "adapter": ({**_DUAL, "patches": [{"name": "adapter", "width": 4}]}, [{"name": "clip"}], ["model.patches.*"]),
}
_COCA = {
    "image/captions": {"name": "pooler", "queries": 3, "heads": 2},
    "image/contrast": {"name": "pooler", "heads": 2},
}
_COCA |= {"image/raw": {"name": "projection", "reads": "contrast"}}
_CAPTION = {"name": "caption", "part": "captions", "words": "tower", "width": 16, "layers": 1, "heads": 2}
CASES["coca"] = (
    {**_DUAL, "text": {**DUAL["text"], "causal": True, "pool": "last"}, "heads": _COCA},
    [{"name": "clip"}, _CAPTION],
    ["*"],
)
CASES["questions"] = (
    _DUAL,
    [
        {"name": "answer_question", "answers": ["yes", "no"], "width": 16, "layers": 1, "heads": 2},
        {"name": "caption", "question": "text.question", "width": 16, "layers": 1, "heads": 2},
    ],
    ["*"],
)
_LIST = {"answers": ["yes", "no", "maybe"], "part": "seen", "width": 8, "loss": "binary"}
CASES["questions by bilinear attention"] = (
    {**_DUAL, "heads": {"image/seen": {"name": "autoencoded", "code": 3}}},
    [
        {"name": "answer_question", **_LIST, "classifier": {"name": "bilinear_question", "dropout": 0}},
        {"name": "answer_question", **_LIST, "head": "routed", "closed": 1, "part": "tokens"}
        | {"classifier": {"name": "conditional_question", "glimpses": 2, "dropout": 0}},
        {"name": "autoencode", "part": "seen"},
    ],
    ["*"],
)


def methods() -> AbstractContextManager[None]:
    """Let the components of `tests.methods` be found."""
    return installed(**COMPONENTS)


def batch_of(dtype: torch.dtype) -> Batch:
    """The batch of `tests.training.world`, with a second view of six pictures, and questions and answers of some."""
    whole = whole_batch(dtype)
    owner = torch.tensor([0, 1, 2, 4, 5, 5])
    columns = {"image.local": Column(whole["image"].values[owner].flip(-1), owner)}
    asked = ("no acute", "large left", "nodule in the right", "no", "rib")
    columns["text.question"] = Column(asked, torch.tensor([0, 1, 2, 3, 4]))
    columns["text.answer"] = Column(("yes", "no", "yes", "maybe", "no"), torch.tensor([0, 1, 2, 3, 4]))
    pixels = whole["image"].values
    every = torch.arange(whole.size)
    columns |= {"image.strong": Column(pixels.flip(-2), every), "image.mixed": Column(pixels.transpose(-1, -2), every)}
    truth = torch.arange(whole.size)[:, None] % 3 == torch.arange(3)
    columns |= {f"label.{name}": Column(truth[:, k].to(dtype), every) for k, name in enumerate(_LABELS)}
    return whole.with_columns(columns)


def step(case: str, chunks: int) -> dict[str, Any]:
    """One training step's gradients and log on this process's part of the batch, in float64."""
    with methods():
        task, root = make_task(*CASES[case], chunks=chunks, dtype=torch.float64)
        weights = {name: 0.3 + i for i, name in enumerate(task.objectives)}
        batch = own_part(batch_of(torch.float64))
        task.backward(batch, weights, samples_seen=0)
        root.zero_grad(set_to_none=True)
        log = task.backward(batch, weights, samples_seen=0)
    return {"loss": log.loss, "terms": dict(log.terms), "gradients": gradients_of(root)}
