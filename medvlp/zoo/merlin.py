"""Merlin: an inflated ResNet-152 and Clinical-Longformer for CT of the abdomen, and 1692 phenotypes."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from torch import Tensor

from medvlp.core.errors import DataError, UserError
from medvlp.core.registry import FromModel
from medvlp.models.bundle import Bundle, StoredAnswer
from medvlp.zoo._bert import BERT_EXTRAS, bert_and_words
from medvlp.zoo._keys import Rules, count, under, without
from medvlp.zoo._protocol import read_checkpoint
from medvlp.zoo._release import Release, imported, reworded, zero_shot

_IMAGE, _TEXT = "encode_image.i3_resnet.", "encode_text.text_encoder."
_STAGE = re.escape(_IMAGE) + r"layer{}\.(.*)"
_RULES: Rules = [
    *((_STAGE.format(i + 1), rf"towers.stack.stages.{i}.\1") for i in range(4)),
    (re.escape(_IMAGE) + r"contrastive_head\.(.*)", r"heads.stack/raw.output.\1"),
    (re.escape(_IMAGE) + r"classifier\.(.*)", r"heads.stack/phenotypes.output.\1"),
    (re.escape(_IMAGE) + r"((?:conv1|bn1)\..*)", r"towers.stack.\1"),
    *under(_TEXT, [("(.*)", r"\1")], "towers.text.backbone."),
    (r"encode_text\.linear_layer\.(.*)", r"heads.text/raw.output.\1"),
]
_RELEASE = Release(
    title="Merlin",
    licence="MIT",
    citation="Blankemeier et al. 2024, arXiv 2406.06512; Nature 2026, 10.1038/s41586-026-10181-8.",
    about="Trained on CT of the abdomen with reports and diagnoses.",
    recipe="merlin_v1",
)


def merlin(
    *, source: Annotated[Path, FromModel("source")], tokenizer: str | None = None, phenotypes: str | None = None
) -> Bundle:
    """Import a checkpoint of Merlin.

    Args:
        source: the ``.pt`` file.
        tokenizer: folder or hub name of Clinical-Longformer's tokenizer.
        phenotypes: the ``phenotypes.csv`` of its repository, which names the outputs of its classifier; None: the
            classifier is left out.

    Raises:
        UserError: if a file cannot be read, or no tokenizer is given.
        DataError: if the weights are another model.
    """
    classifier = {re.escape(_IMAGE) + r"classifier\..*": None} if phenotypes is None else {}
    unused = {**BERT_EXTRAS, re.escape(_TEXT) + r"pooler\..*": None, "logit_scale": None, **classifier}
    weights, left = without(read_checkpoint(source), unused)
    bert, words = bert_and_words(
        weights, _TEXT, tokenizer, title="Merlin", hub="yikuan8/Clinical-Longformer", length=1024
    )
    config = {**bert, "model_type": "longformer", "pad_token_id": 1, "layer_norm_eps": 1e-5}
    labels = [] if phenotypes is None else _named(Path(phenotypes), weights, source)
    layers = [count(weights, re.escape(_IMAGE) + rf"layer{i}\.(\d+)\..*") for i in range(1, 5)]
    sizes = {"layers": layers, "width": len(weights[f"{_IMAGE}conv1.weight"])}
    tower = {"name": "i3_resnet", "ras": True, **sizes}
    joint = len(weights[f"{_IMAGE}contrastive_head.weight"])
    plain = {"name": "projection", "bias": True, "width": joint}
    heads: dict[str, Any] = {"stack/raw": plain, "text/raw": plain}
    if labels:
        heads["stack/phenotypes"] = {"name": "linear", "classes": len(labels)}
    text = {"name": "transformers", "config": config, "pool": "cls"}
    spec = {"name": "dual", "vision": tower, "text": text, "embed_dim": joint, "heads": heads, "scale": {"init": 1.0}}
    options = {"labels": labels, "part": "phenotypes"}
    more = [StoredAnswer("phenotypes", "findings", options, labels)] if labels else []
    return imported(
        spec,
        weights,
        _RULES,
        importer="merlin",
        source=source,
        release=_RELEASE,
        read=[{"name": "read_grid", "size": [224, 224, 160], "spacing": [1.5, 1.5, 3.0]}],
        tokenizer=words,
        answers=[*(reworded(each, _spaced) for each in zero_shot(_RELEASE)), *more],
        facts={"left_out": left},
        limits=(
            "Prompts are ours; the release publishes none. It puts spaces between words and punctuation and writes "
            "small letters: so do the prompts here, and you should of your own."
        ),
    )


def _named(file: Path, weights: Mapping[str, Tensor], source: Path) -> list[str]:
    """Return the names of the classifier's outputs; two of one name get their code."""
    try:
        with file.expanduser().open(encoding="utf-8", newline="") as stream:
            rows = [(row["phecode"], row["phecode_str"]) for row in csv.DictReader(stream)]
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise UserError(
            f"{file} is no table with phecode and phecode_str ({error}): give Merlin's phenotypes.csv."
        ) from None
    outputs = len(weights.get(f"{_IMAGE}classifier.weight", ()))
    if len(rows) != outputs:
        raise DataError(
            f"{file} names {len(rows)} phenotypes and {source} has {outputs}: give those of this checkpoint."
        )
    names = [name for _, name in rows]
    return [name if names.count(name) == 1 else f"{name} ({code})" for code, name in rows]


def _spaced(text: str) -> str:
    return " ".join(re.findall(r"\w+|[^\w\s]+", text.lower()))
