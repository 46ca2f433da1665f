"""Names of foreign weights -> names of ours: a short list of rules a project, nothing left over on either side."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from medvlp.core.errors import DataError

Rules = Sequence[tuple[str, str]]
Unused = Mapping[str, Callable[[Tensor], bool] | None]

# MONAI's transformer as ours of volumes; how it embeds blocks differs by project.
MONAI_VIT: Rules = [
    (r"patch_embedding\.position_embeddings", "position"),
    (r"(blocks\.\d+)\.attn\.out_proj\.(.*)", r"\1.attn.proj.\2"),
    (r"(blocks\.\d+)\.mlp\.linear([12])\.(.*)", r"\1.mlp.fc\2.\3"),
    (r"((?:blocks\.\d+\.(?:norm[12]|attn\.qkv)|norm)\..*)", r"\1"),
]


def by_rules(rules: Rules) -> Callable[[str], str | None]:
    r"""Return foreign name -> ours by the first pattern that matches the whole of it; None where none does.

    Example:
        >>> rename = by_rules([(r"layer\.(\d+)\.(.*)", r"blocks.\1.\2")])
        >>> rename("layer.3.norm.weight"), rename("other")
        ('blocks.3.norm.weight', None)
    """
    compiled = [(re.compile(pattern), ours) for pattern, ours in rules]

    def rename(name: str) -> str | None:
        for pattern, ours in compiled:
            found = pattern.fullmatch(name)
            if found:
                return found.expand(ours)
        return None

    return rename


def renamed(weights: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Return weights under our names; one that no rule names keeps its own."""
    rename = by_rules(rules)
    return {rename(name) or name: tensor for name, tensor in weights.items()}


def under(prefix: str, rules: Rules, ours: str) -> Rules:
    """Return the rules of a part for the part under a prefix of theirs and a prefix of ours."""
    return [(re.escape(prefix) + pattern, ours + name) for pattern, name in rules]


def fused(weights: Mapping[str, Tensor], pattern: str, into: str) -> dict[str, Tensor]:
    r"""Put weights that we keep in one, such as query, key and value, one above the other, in the pattern's order.

    The pattern has ``{}`` where they differ and groups that tell places apart, to which the name of the whole refers.
    """
    before, _, rest = pattern.partition("{")
    names, _, after = rest.partition("}")
    parts = names.split(",")
    held = dict(weights)
    first = re.compile(f"{before}(?P<part>{re.escape(parts[0])}){after}")
    for name in weights:
        found = first.fullmatch(name)
        if found is None:
            continue
        start, end = found.span("part")
        own = [name[:start] + part + name[end:] for part in parts]
        if all(each in held for each in own):
            whole = torch.cat([held.pop(each) for each in own])
            plain = re.fullmatch(before + re.escape(parts[0]) + after, name)
            held[into if plain is None else plain.expand(into)] = whole
    return held


def split_rows(weights: Mapping[str, Tensor], pattern: str, into: Sequence[tuple[str, int]]) -> dict[str, Tensor]:
    """Cut weights that we keep apart: each of `into` takes so many equal parts of the rows, in their order."""
    held = dict(weights)
    total = sum(share for _, share in into)
    for name in weights:
        found = re.fullmatch(pattern, name)
        if found and len(held[name]) % total == 0:
            whole = held.pop(name)
            step = len(whole) // total
            for part, piece in zip(into, whole.split([share * step for _, share in into]), strict=True):
                held[found.expand(part[0])] = piece
    return held


def without(weights: Mapping[str, Tensor], known: Unused) -> tuple[dict[str, Tensor], list[str]]:
    """Leave out what a project's file holds and no model needs, by pattern, after looking that it is what it must be.

    Returns:
        the others, and the names left out.

    Raises:
        DataError: if one is something else.
    """
    held, left = dict(weights), []
    for name, tensor in weights.items():
        for pattern, check in known.items():
            if re.fullmatch(pattern, name):
                if check is not None and not check(tensor):
                    raise DataError(
                        f"{name} of the checkpoint is not what every file of its kind holds there, so leaving it out "
                        "would change the model: name a checkpoint of the release itself."
                    )
                left.append(name)
                del held[name]
                break
    return held, left


def without_twins(weights: Mapping[str, Tensor], twins: Rules) -> tuple[dict[str, Tensor], list[str]]:
    """Leave out what a file holds under two names; return the others, and the names left out.

    Raises:
        DataError: if the two differ.
    """
    other_name, held, left = by_rules(twins), dict(weights), []
    for name, tensor in weights.items():
        other = other_name(name)
        if other in weights:
            if not torch.equal(tensor, weights[other]):
                raise DataError(
                    f"{name} and {other} of the checkpoint differ, and every file of its kind holds them "
                    "alike: name a checkpoint of the release itself."
                )
            left.append(name)
            del held[name]
    return held, left


def folded(weights: Mapping[str, Tensor], linear: str, norm: str, *, eps: float = 1e-5) -> dict[str, Tensor]:
    """Take a BatchNorm with its fixed statistics into the linear layer (or 1 x 1 convolution) in front of it."""
    held = dict(weights)
    weight, mean, variance = (held.pop(f"{each}") for each in (
        f"{linear}.weight", f"{norm}.running_mean", f"{norm}.running_var"))  # fmt: skip
    held.pop(f"{norm}.num_batches_tracked", None)
    gain = held.pop(f"{norm}.weight", torch.ones_like(mean)) / (variance + eps).sqrt()
    shift = held.pop(f"{norm}.bias", torch.zeros_like(mean))
    weight = weight.reshape(len(weight), -1)
    held[f"{linear}.weight"] = weight * gain[:, None]
    held[f"{linear}.bias"] = shift + (held.get(f"{linear}.bias", torch.zeros_like(mean)) - mean) * gain
    return held


def is_range(tensor: Tensor) -> bool:
    """Whether a buffer numbers places, (..., N): 0 to N - 1."""
    return torch.equal(tensor.reshape(-1), torch.arange(tensor.numel(), dtype=tensor.dtype))


def count(weights: Mapping[str, Tensor], pattern: str) -> int:
    r"""Return how many numbers the group of a pattern takes, counted from 0: the layers.

    Example:
        >>> count({"layer.0.w": None, "layer.2.w": None}, r"layer\.(\d+)\..*")
        3
    """
    found = (re.fullmatch(pattern, name) for name in weights)
    return 1 + max((int(each[1]) for each in found if each), default=-1)
