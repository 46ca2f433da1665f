"""A small model of pictures and banks, a tokenizer with a first and a last token, and prompts put together by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from medvlp.core.keys import Plan, keys
from medvlp.core.protocols import HeadSpec
from medvlp.core.sample import Batch
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.bank import Bank
from medvlp.models.build import build_model
from medvlp.models.patches import apply_patches
from medvlp.text.wordpiece import train_wordpiece
from tests.models.words import DUAL, TEXT, VIT, images

NAMES = ("effusion.", "rib fracture.", "nodule", "no finding of any kind.")
HAND = tuple(f"a photo of {name}" for name in NAMES)
WORDS = train_wordpiece([*HAND, "a photo of left"] * 3, vocab_size=160, max_length=24)
FINDINGS = "image/findings"


def model(
    patches: Sequence[dict[str, Any]] = (),
    *,
    head: dict[str, Any] | None = None,
    names: Sequence[str] = NAMES,
    text: dict[str, Any] = TEXT,
    **changes: Any,
) -> TowerModel:
    """A ViT and a text transformer with the classifier of the bank ``names`` and these patches, parameters drawn."""
    banks = {"names": Bank("names", tuple(names)), "hand": Bank("hand", tuple(f"a photo of {n}" for n in names))}
    spec = {**DUAL, "vision": {**VIT, "image_size": 32}, "text": text, **changes}
    built = build_model(spec, tokenizer=WORDS, banks=banks, seed=3)
    assert isinstance(built, TowerModel)
    apply_patches(built, patches, seed=1)
    chosen = {"name": "text_classifier", "bank": "names", **(head or {})}
    options = {key: value for key, value in chosen.items() if key != "name"}
    spec = HeadSpec(chosen["name"], {**options, "classes": len(names)}, keep=True)
    built.mount({"findings": spec}, Plan.of(keys(FINDINGS)))
    return built.eval()


def batch(rows: int = 3) -> Batch:
    """Pictures alone."""
    return Batch.of({"image": images(rows)})


def logits(built: TowerModel, rows: int = 3) -> Tensor:
    """(R, K)."""
    return built(batch(rows), Plan.of(keys(FINDINGS)))["image"].part("findings")


def drawn(module: torch.nn.Module, std: float = 0.3) -> None:
    """Draw every parameter: first weights are zeros here and there."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=std)


def word_vectors(built: TowerModel, text: str) -> list[Tensor]:
    """The vectors of a text's tokens, the first and the last one included."""
    made = WORDS([text])
    return [built.towers["text"].word.weight[i] for i in made.ids[0][made.mask[0]]]


def prompted(built: TowerModel, name: str, context: Sequence[Tensor], position: str = "end") -> Tensor:
    """The unit embedding of one text with a context among its words, as the equations of `coop` say, token by token."""
    stop = word_vectors(built, ".")[1:-1] if name.endswith(".") else []
    first, *own, last = word_vectors(built, name.rstrip("."))
    half = len(context) // 2
    middle = {"end": [*context, *own], "middle": [*context[:half], *own, *context[half:]], "front": [*own, *context]}[
        position
    ]
    tower = built.towers["text"]
    row = torch.stack([first, *middle, *stop, last]) + tower.position[: len(middle) + len(stop) + 2]
    out = tower.trunk(row[None], None, layers=False, attention=False).tokens[0]
    pooled = {"mean": out.mean(dim=0), "cls": out[0], "last": out[-1]}[tower.pool]
    raw = built.heads["text/raw"].output(pooled)
    return raw / raw.norm()


def pictures(built: TowerModel, *parts: str, rows: int = 3) -> dict[str, Tensor]:
    """What the tower says of each picture."""
    found = built(batch(rows), Plan.of(keys(*(f"image/{part}" for part in parts))))["image"]
    return {part: found.part(part) for part in parts}
