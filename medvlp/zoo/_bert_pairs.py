"""What GLoRIA, MGCA, CXR-CLIP, MedCLIP and CARZero have in common: a ResNet, ViT or Swin, a BERT, one file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from torch import Tensor

from medvlp.core.errors import DataError
from medvlp.core.registry import FromModel
from medvlp.models.bundle import Bundle, StoredAnswer
from medvlp.zoo._bert import BERT_EXTRAS, bert_and_words
from medvlp.zoo._keys import Rules, Unused, under, without
from medvlp.zoo._protocol import read_checkpoint
from medvlp.zoo._release import Release, imported

Tower = Callable[[Mapping[str, Tensor]], tuple[dict[str, Any], list[dict[str, Any]]]]
Heads = Callable[[Mapping[str, Tensor]], dict[str, dict[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class BertPair:
    """A family of BERT-based image-text models."""

    name: str  # of the importer
    release: Release  # what is known of it
    inside: Sequence[str]  # keys of the file under which the weights may lie
    image: str  # prefix of the image tower
    text: str  # prefix of BERT
    tower: Tower  # weights -> (options of the image tower, views that make its pixels)
    heads: Heads  # weights -> projections
    prefix: str = ""  # in front of all names that count; others are of the training
    rules: Rules = ()  # names of the projections
    unused: Unused = field(default_factory=dict)  # patterns of what the file holds and no model needs
    pooled: Mapping[str, Any] = field(default_factory=lambda: {"pool": "cls"})  # how BERT is pooled
    words: str = "emilyalsentzer/Bio_ClinicalBERT"  # hub name of the tokenizer
    length: int = 256  # tokens
    scale: float = 1 / 0.07  # of the logits
    arranged: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict  # what is done to the weights first
    apart: str = "-"  # prefix of what the score learns, where it learns something
    asked: Callable[[Mapping[str, Tensor], Path], StoredAnswer] | None = None  # these weights -> the answer
    limits: str = ""  # for the card


def importer_of(family: BertPair) -> Callable[..., Bundle]:
    """Return the importer of a family, a component like any other."""

    def importer(
        *, source: Annotated[Path, FromModel("source")], tokenizer: str | None = None, preset: str = "dicom_voi_v1"
    ) -> Bundle:
        return _read(family, source, tokenizer=tokenizer, preset=preset)

    importer.__name__, importer.__doc__ = family.name, _DOC.format(title=family.release.title, words=family.words)
    return importer


def padded_views(side: int) -> list[dict[str, Any]]:
    """Return the long side at 256 on black, the middle 224 of it, and perhaps that once more stretched, as in MGCA."""
    views: list[dict[str, Any]] = [{"name": "read", "size": 224, "fit": "pad", "resample": "area", "resize": 256}]
    more = {"name": "resample", "size": side, "mode": "bilinear", "align_corners": True}
    return views if side == 224 else [*views, more]


def bare_words(text: str) -> str:
    """Return a text as GLoRIA, MGCA and CARZero take it apart: its words in small letters; a place to fill stays.

    Example:
        >>> bare_words("There is a {side} pleural effusion, small.")
        'there is a {side} pleural effusion small'
    """
    return " ".join(re.findall(r"\{\w+\}|\w+", text.lower()))


_DOC = """Import a checkpoint of {title}.

Args:
    source: the file; a configuration in it is not looked at.
    tokenizer: folder or hub name of the tokenizer, {words}.
    preset: how files become display values (`medvlp.io.preset_names`).

Raises:
    UserError: if the file cannot be read, or no tokenizer is given.
    DataError: if the weights are another model.
"""


def _read(family: BertPair, source: Path, *, tokenizer: str | None, preset: str) -> Bundle:
    held = read_checkpoint(source, inside=family.inside)
    own = {name.removeprefix(family.prefix): t for name, t in held.items() if name.startswith(family.prefix)}
    pooler = {re.escape(f"{family.text}pooler.") + ".*": None}
    used, left = without(own, {**BERT_EXTRAS, **pooler, **family.unused})
    learnt = {name.removeprefix(family.apart): t for name, t in used.items() if name.startswith(family.apart)}
    weights = dict(family.arranged({name: t for name, t in used.items() if not name.startswith(family.apart)}))
    if not any(name.startswith(family.image) for name in weights):
        raise DataError(
            f"{source} has no weights under {family.prefix}{family.image}: it is no {family.release.title}, or one of "
            "another image tower, which is not read."
        )
    title = family.release.title
    config, words = bert_and_words(weights, family.text, tokenizer, title=title, hub=family.words, length=family.length)
    (tower, views), heads = family.tower(weights), family.heads(weights)
    spec = {
        "name": "dual",
        "vision": {"name": "timm", "channels": 3, **tower},
        "text": {"name": "transformers", "config": config, **family.pooled},
        "embed_dim": next(iter(heads.values())).get("width", config["hidden_size"]),
        "heads": heads,
        "scale": {"init": family.scale},
    }
    plain = [*under(family.image, [("(.*)", r"\1")], "towers.image.backbone.")]
    plain += under(family.text, [("(.*)", r"\1")], "towers.text.backbone.")
    scaled = [("logit_scale", "logit_scale.log_scale")] if "logit_scale" in weights else []
    return imported(
        spec,
        weights,
        [*family.rules, *scaled, *plain],
        importer=family.name,
        source=source,
        release=family.release,
        read=[{**view, **({"preset": preset} if view["name"] == "read" else {})} for view in views],
        tokenizer=words,
        answers=None if family.asked is None else [family.asked(learnt, source)],
        facts={"left_out": left},
        limits=family.limits,
    )
