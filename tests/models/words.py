"""A tokenizer of ten lines and small models over it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from medvlp.core.sample import Batch
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.build import build_model
from medvlp.text.tokenizers import TokenBatch, pad_batch

VISION = {"name": "timm", "architecture": "resnet10t", "image_size": 32, "norm": "group"}
VISION |= {"options": {"channels": [8, 8, 16, 16], "stem_width": 8}}
VIT = {"name": "timm", "architecture": "vit_tiny_patch16_224", "image_size": 64}
VIT |= {"options": {"embed_dim": 16, "depth": 2, "num_heads": 2}}
TEXT = {"name": "transformer", "width": 16, "layers": 2, "heads": 2}
DUAL: dict[str, Any] = {"name": "dual", "vision": VISION, "text": TEXT, "embed_dim": 8}


class HashWords:
    """A word's id is its checksum; 0 is the padding."""

    name = "hash_words"
    pad_id = 0

    def __init__(self, vocab_size: int = 64, max_length: int = 24) -> None:
        self.vocab_size, self.max_length = vocab_size, max_length

    @property
    def identity(self) -> str:
        return f"{self.name} {self.vocab_size} {self.max_length}"

    def __call__(self, texts: Sequence[str]) -> TokenBatch:
        rows = [[1 + zlib.crc32(word.encode()) % (self.vocab_size - 1) for word in text.split()] for text in texts]
        cut = [row[: self.max_length] for row in rows]
        return pad_batch(cut, pad_id=0, truncated=sum(len(row) > self.max_length for row in rows))

    def save(self, folder: str | Path) -> None:
        raise NotImplementedError


class SpokenWords(HashWords):
    """The same between a first and a last token; to turn ids into words again is nobody's wish here."""

    name = "spoken_words"
    start_id, stop_id = 1, 2

    def __call__(self, texts: Sequence[str]) -> TokenBatch:
        rows = [[3 + zlib.crc32(word.encode()) % (self.vocab_size - 3) for word in text.split()] for text in texts]
        whole = [[1, *row[: self.max_length - 2], 2] for row in rows]
        return pad_batch(whole, pad_id=0, truncated=0)


def dual(spec: Mapping[str, Any] = DUAL, *, seed: int = 0, **changes: Any) -> TowerModel:
    model = build_model({**spec, **changes}, tokenizer=HashWords(), seed=seed)
    assert isinstance(model, TowerModel)
    return model


def images(rows: int, size: int = 32, *, seed: int = 0) -> torch.Tensor:
    return torch.rand(rows, 1, size, size, generator=torch.Generator().manual_seed(seed))


def pairs(texts: Sequence[str] = ("no effusion", "large left effusion", "normal"), size: int = 32) -> Batch:
    return Batch.of({"image": images(len(texts), size), "text": list(texts)})
