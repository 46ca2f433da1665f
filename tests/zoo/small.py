"""Small checkpoints of other libraries with weights of natural size, and what every importer must refuse."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from medvlp.answers.asking.model import VisionLanguageModel, load
from medvlp.models.bundle import Bundle, save_bundle

TEXTS = ["effusion", "no evidence of a pleural effusion on the left, lungs clear", "edema"]


def natural(module: nn.Module, seed: int = 0) -> nn.Module:
    """Draw weights as large as trained ones: tiny ones hide a wrong activation. Statistics of norms move too."""
    made = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=made)
            norm = parameter.dim() == 1 and name.endswith("weight")
            spread = 0.1 if parameter.dim() < 2 else 1.5 / max(1, parameter[0].numel()) ** 0.5
            if name.endswith(("logit_scale", "logit_bias")):
                parameter.copy_(torch.full_like(parameter, 2.0 if name.endswith("scale") else -3.0))
            else:
                parameter.copy_(noise * spread + (1 if norm else 0))
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(torch.randn(buffer.shape, generator=made) * 0.1)
            elif name.endswith("running_var"):
                buffer.copy_(torch.rand(buffer.shape, generator=made) + 0.5)
    return module.eval()


def pictures(size: int, *, channels: int = 3, count: int = 3) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(7))


def units(vectors: Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(vectors.detach().float(), dim=-1).numpy()


def kept(bundle: Bundle, folder: Path) -> VisionLanguageModel:
    """Save a bundle and load it, as every verb does."""
    save_bundle(folder, bundle)
    return load(folder)


def clip_words() -> Any:
    """Return CLIP's tokenizer over single letters: bytes, then bytes that end a word, then the two marks."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    pieces = [*letters, *(f"{each}</w>" for each in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[])


def bert_words(folder: Path) -> Any:
    """Return BERT's tokenizer over letters and their continuations."""
    from transformers import BertTokenizer

    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + [str(d) for d in range(10)] + [",", "."]
    folder.mkdir(parents=True, exist_ok=True)
    words = [*marks, *letters, *(f"##{each}" for each in letters)]
    (folder / "vocab.txt").write_text("\n".join(words))
    made = BertTokenizer(vocab={word: i for i, word in enumerate(words)})
    made.save_pretrained(folder)
    return made


def changed(weights: dict[str, Tensor]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield what no importer may take: a weight renamed, dropped, added, of no or other numbers, or turned."""
    names = [n for n, t in weights.items() if t.dim() >= 2 and t.shape[0] != t.shape[1]]
    name = names[len(names) // 2]
    others = {n: t for n, t in weights.items() if n != name}
    yield "renamed", {**others, f"{name}_of_another": weights[name]}
    yield "dropped", others
    yield "added", {**weights, f"{name}2": weights[name].clone()}
    yield "no number", {**others, name: weights[name] * float("nan")}
    yield "whole numbers", {**others, name: (100 * weights[name]).to(torch.int8)}  # as quantising leaves them
    yield "complex", {**others, name: weights[name].to(torch.complex64)}
    yield "turned", {**others, name: weights[name].transpose(0, 1).contiguous()}


def read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":  # not mapped: the file is written anew
        return {name: tensor.clone() for name, tensor in load_file(path).items()}
    return torch.load(path, weights_only=True)


def write(path: Path, weights: dict[str, Tensor]) -> None:
    if path.suffix == ".safetensors":
        save_file({n: t.contiguous() for n, t in weights.items()}, path)
    else:
        torch.save(weights, path)


class Runs:
    """Pickled, it would write a file when it is read."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return io.open, (self.path, "w")


def spoilt(path: Path, trace: Path) -> Iterator[tuple[str, bytes]]:
    """Yield files that are no weights: cut off, with code in them, of another kind."""
    whole = path.read_bytes()
    yield "cut", whole[: len(whole) // 2]
    stream = io.BytesIO()
    torch.save({"weights": torch.zeros(1), "more": Runs(str(trace))}, stream)
    yield "code", stream.getvalue()
    yield "words", b"not weights at all"
    yield "pickle", b"\x80\x02a."  # whose reader stumbles
    yield "header", (10 * 2**30).to_bytes(8, "little") + b"{}"
