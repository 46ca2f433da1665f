"""Vectors of a frozen language model of transformers: the clinical BERT of the papers, by folder or name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field

from medvlp.core.registry import FromModel
from medvlp.models.encoders._text import encode_texts
from medvlp.models.encoders.transformers import TransformersEncoder
from medvlp.models.text_vectors import TextVectors
from medvlp.text.tokenizers import TransformersTokenizer


def transformers_vectors(
    *,
    texts: Annotated[Sequence[str], FromModel("texts")],
    path: str,
    pool: Literal["cls", "mean"] = "cls",
    max_length: Annotated[int, Field(ge=8)] = 128,
) -> TextVectors:
    """Encode each text without gradient, in evaluation mode, in float32.

    MeDSLIP and MedKLIP use ``cls`` of Bio_ClinicalBERT, with texts cut at 128 tokens in training.

    Args:
        path: folder or name of the model with its tokenizer; weights are read as safetensors only.
        pool: ``cls`` the first token, ``mean`` over real tokens.
        max_length: tokens; longer texts are cut.

    Raises:
        UserError: if the model or its tokenizer cannot be read.
    """
    tower = TransformersEncoder(words=TransformersTokenizer(path, max_length=max_length), path=path, pool=pool).eval()
    rows = []
    with torch.no_grad():
        for start in range(0, len(texts), 32):
            pooled = encode_texts(tower, texts[start : start + 32], parts=frozenset({"pooled"})).pooled
            assert pooled is not None  # it was asked for
            rows.append(pooled.float())
    name = Path(path).name
    return TextVectors(
        torch.cat(rows), f"transformers {name} {pool} max_length={max_length} sha256:{_weights_hash(tower)}"
    )


def _weights_hash(tower: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tower.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()[:16]
