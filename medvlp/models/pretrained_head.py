"""Weights for one head out of a safetensors file: a generator, a decoder, a classifier that others have trained."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from medvlp.core.errors import UserError
from medvlp.core.files import sha256_of


@dataclass(frozen=True)
class Loaded:
    """Origin of a head's weights: SHA-256 of the file, and `hash_of_tensors` of the loaded head."""

    sha256: str
    tensors: str


def load_head(head: nn.Module, file: str | Path, *, where: str) -> Loaded:
    """Load all tensors of a head from a safetensors file under the head's own names.

    Raises:
        UserError: if the file cannot be read, or its tensors are not those of the head; the head then is as it was.
    """
    path = Path(file).expanduser()
    try:
        sha256, tensors = sha256_of(path), load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{where}.weights {str(file)!r} cannot be read ({type(error).__name__}): give a safetensors file with the "
            f"head's tensors."
        ) from None
    own = head.state_dict()
    if faults := misfits(own, tensors):
        name = faults[0]
        of_file, of_head = (tuple(t[name].shape) if name in t else "no such tensor" for t in (tensors, own))
        raise UserError(
            f"{where}.weights {str(file)!r} does not fit the head in {len(faults)} tensors: {name!r} is {of_file} in "
            f"the file and {of_head} in the head: set the head's options to those it was trained with."
        )
    head.load_state_dict(tensors)
    return Loaded(sha256, hash_of_tensors(head.state_dict()))


def misfits(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of tensors that only one of the two has, then of those of another shape."""
    other = [name for name in own if name in tensors and own[name].shape != tensors[name].shape]
    return sorted(own.keys() ^ tensors.keys()) + other


def hash_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, types, shapes and bytes of tensors, by name."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
