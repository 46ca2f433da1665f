"""Which cells of a picture belong together, as a tower without words sees it, and the values of a last attention."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Encoder, Model
from medvlp.models.bundle import load_model
from medvlp.models.encoders._sites import TokenSite


def affinity(tokens: Tensor, *, beta: float, gamma: float) -> Tensor:
    """Return weights (M, M), rows of sum 1: softmax of gamma (S - beta mean S) where that is at least 0, S = cos.

    The diagonal always stays: of cells that are all alike none is that large, and a softmax over nothing is no number.
    """
    near = unit(tokens) @ unit(tokens).T
    logits = gamma * (near - beta * near.mean())
    own = torch.eye(len(tokens), dtype=torch.bool, device=tokens.device)
    return logits.masked_fill((logits < 0) & ~own, -torch.inf).softmax(dim=1)


def global_affinity(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return weights (M, M), rows of sum 1, of the attention of a layer (heads, M, d), where values are alike.

    Of each head's softmax the entries stay whose values have a cosine above min(0.9, 1.2 mean), the mean that of all
    heads and cells with the cell that asks; heads are averaged.
    """
    weights = (query @ key.transpose(1, 2) * query.shape[2] ** -0.5).softmax(dim=2)
    near = unit(value) @ unit(value).transpose(1, 2)
    least = (1.2 * near.mean(dim=(0, 2), keepdim=True)).clamp(max=0.9)
    own = torch.eye(near.shape[1], dtype=torch.bool, device=near.device)
    mean = torch.where((near > least) | own, weights, 0.0).mean(dim=0)
    return mean / mean.sum(dim=1, keepdim=True)


@dataclass(frozen=True)
class LastAttention:
    """The last attention of a transformer, its layers, its block, and how many tokens stand for no place."""

    module: nn.Module
    block: nn.Module
    qkv: nn.Linear
    output: nn.Linear
    heads: int
    prefix: int

    def parts(self, entering: Tensor) -> Tensor:
        """Return queries, keys and values of the patches (3, R, heads, N, d) of what enters (R, P + N, W)."""
        split = self.qkv(entering[:, self.prefix :]).unflatten(2, (3, self.heads, -1))
        return split.permute(2, 0, 3, 1, 4)

    def watched(self, found: list[Tensor]) -> RemovableHandle:
        """Collect what enters the attention, as long as the handle's context is open."""
        return self.module.register_forward_pre_hook(lambda _module, inputs: found.append(inputs[0]))

    def replaced(self, patches: Tensor) -> RemovableHandle:
        """Let patches (R, M, W), behind tokens of no place that are zero, be what leaves the last block, likewise."""
        whole = F.pad(patches, (0, 0, self.prefix, 0))
        return self.block.register_forward_hook(lambda *_: whole)


def last_attention(model: Model) -> LastAttention | None:
    """Return the last attention of the image tower; None of a tower without one, such as a convolutional one.

    Raises:
        ConfigError: for an attention whose values cannot be taken apart.
    """
    tower = tower_of(model)
    sites = tower.sites()
    if "attention.last" not in sites:
        return None
    module: Any = sites["attention.last"].module
    last = max(int(name[len("block.after[") : -1]) for name in sites if name.startswith("block.after["))
    own, start = dict(module.named_children()), sites.get("tokens.input")
    if not isinstance(own.get("qkv"), nn.Linear) or not isinstance(own.get("proj"), nn.Linear):
        raise ConfigError(
            f"The last attention of this image tower is a {type(module).__name__} without one layer for queries, keys "
            f"and values: take a plain ViT, or the map similarity."
        )
    prefix = start.prefix if isinstance(start, TokenSite) else 0
    block = sites[f"block.after[{last}]"].module
    return LastAttention(module, block, own["qkv"], own["proj"], int(module.num_heads), prefix)


def tower_of(model: Model) -> Encoder:
    """Return the image tower of a model."""
    return model.get_submodule("towers").get_submodule("image")  # pyrefly: ignore


def shown_to(model: Model, images: Tensor) -> Tensor:
    """Return images (R, C, H, W) of another model's preprocessing in the size and channels of a model's tower."""
    channels, *size = tower_of(model).blank(torch.device("cpu")).shape[1:]
    if images.shape[1] != channels:
        images = images.mean(dim=1, keepdim=True).expand(-1, channels, -1, -1)
    if list(images.shape[2:]) != size:
        images = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
    return images


@lru_cache(maxsize=2)
def second(bundle: str, device: torch.device) -> Model:
    """Return the model of a bundle, loaded once, in evaluation mode."""
    return load_model(bundle).to(device).eval()
