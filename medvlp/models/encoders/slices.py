"""A 2D tower over the slices of a volume, the frames of a cine or the views of a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Encoder, Level, Site
from medvlp.core.registry import FromModel
from medvlp.models._draws import RowDraws
from medvlp.models.encoders._build import build_tower
from medvlp.models.encoders._sites import level_name, level_numbers, level_parts


class SliceEncoder(Encoder):
    """(R, S, C, H, W) slices -> tokens (R, S, W), one a slice, with mask and position; ``pooled`` is their masked mean.

    ``level[i]`` (R, C, S, h, w) are the slice tower's maps, zero where a slice is padded. Instead of pixels a stack may
    hold what the frozen tower made of them, (R, S, W, 1, 1), which goes through unchanged.

    Args:
        slice: component of `models/encoders` for images; ``image``: the model's own tower of images.
        chunk: slices that the 2D tower takes at a time where it is not trained: memory does not grow with the depth.

    Raises:
        ConfigError: if the slice tower does not encode images, or there is no tower of images to share.

    Example:
        >>> tower = SliceEncoder(slice={"name": "timm", "architecture": "resnet10t", "image_size": 32})
        >>> stack, mask = torch.rand(2, 3, 1, 32, 32), torch.tensor([[True, True, True], [True, False, False]])
        >>> rows = tower(stack, parts=frozenset({"tokens", "pooled"}), mask=mask)
        >>> rows.tokens.shape, torch.allclose(rows.pooled[1], rows.tokens[1, 0], atol=1e-6)
        (torch.Size([2, 3, 512]), True)
    """

    kinds = ("stack",)
    offers = frozenset({"pooled", "tokens", "mask", "position"})
    beside: frozenset[str] = frozenset()  # parts of whole stacks that `_made` makes too

    def __init__(
        self,
        *,
        slice: dict[str, Any] | Literal["image"],
        chunk: Annotated[int, Field(ge=1)] = 32,
        image: Annotated[Encoder | None, FromModel("image")] = None,
        seed: Annotated[int, FromModel("seed")] = 0,
        where: Annotated[str, FromModel("where")] = "model.vision",
    ) -> None:
        super().__init__()
        path = f"{where}.slice"
        self.chunk, self.draws = chunk, RowDraws()
        if slice == "image":
            if image is None:
                raise ConfigError(f"{path} is 'image', and the model has no tower of images to share: give it one.")
            # A tuple hides the other tower's weights from this module's state dict; deepcopy still keeps them shared.
            self._shared: tuple[Encoder, ...] = (image,)
            self._look_like(image)
            return
        self._shared = ()
        _, tower, self._released = build_tower(slice, ("image",), seed=seed, where=path)
        self.slice: Encoder = tower
        self._look_like(tower)

    def _look_like(self, tower: Encoder) -> None:
        self.width = self.token_width = tower.width
        self.levels = tuple(Level(level.channels, (1, *level.stride)) for level in tower.levels)
        self.offers = self.offers | level_parts(self.levels)

    @property
    def tower(self) -> Encoder:
        """The 2D tower, its own or the shared one."""
        return self._shared[0] if self._shared else self.slice

    def forward(
        self, values: Tensor, *, parts: frozenset[str], mask: Tensor | None = None, position: Tensor | None = None
    ) -> Encoded:
        """Encode stacks; see `Encoder`."""
        if values.dim() != 5:
            raise ConfigError("A tower of slices takes stacks (R, S, C, H, W): let a view make them of the volumes.")
        rows, depth = values.shape[:2]
        real = torch.ones(rows, depth, dtype=torch.bool, device=values.device) if mask is None else mask
        wanted = frozenset(level_name(i) for i in level_numbers(parts))
        own = frozenset({"pooled"}) if parts & {"pooled", "tokens"} else frozenset()
        asked = wanted | own | (parts & self.beside)
        made = self._made(values, real, asked) if asked else {}
        tokens = made.get("pooled", values.new_zeros(rows, depth, self.width))
        share = real.to(tokens.dtype) / real.sum(1, keepdim=True).clamp_min(1).to(tokens.dtype)
        place = torch.zeros(rows, depth, 3, device=values.device) if position is None else position
        return Encoded(
            owner=torch.arange(rows, device=values.device),
            pooled=torch.einsum("rs,rsw->rw", share, tokens) if "pooled" in parts else None,
            tokens=tokens if "tokens" in parts else None,
            mask=real,
            position=place if "position" in parts else None,
            extra={name: made[name].transpose(1, 2) if name in wanted else made[name] for name in sorted(asked - own)},
        )

    def sites(self) -> Mapping[str, Site]:
        """Those of the slice tower."""
        return self.tower.sites()

    def blank(self, device: torch.device) -> Tensor:
        """One stack of one black slice."""
        return self.tower.blank(device)[:, None]

    def released(self) -> Mapping[str, object]:
        """See `Encoder`."""
        return {} if self._shared else {"slice": self._released}

    def _made(self, values: Tensor, real: Tensor, parts: frozenset[str]) -> dict[str, Tensor]:
        """Return parts of the slices (R, S, ...), zeros where padded; only real slices are encoded."""
        if values.shape[2:] == (self.width, 1, 1):
            if parts != {"pooled"}:
                raise ConfigError(
                    "A tower of slices was given features of slices, which have no maps: let a view read the slices "
                    "themselves."
                )
            return {"pooled": values.flatten(2) * real[..., None].to(values.dtype)}
        # A pass that looks ahead does what the one that trains will do: same draws, same rows, same number of calls.
        ahead = torch.is_grad_enabled() or self.tower.training
        if ahead and any(parameter.requires_grad for parameter in self.tower.parameters()):
            packed = self._encode(values[real], parts)
        else:
            some = values[real].split(self.chunk)
            each = [self._encode(part, parts) for _, part in zip(self.draws.turns(map(len, some)), some, strict=True)]
            packed = {name: torch.cat([one[name] for one in each]) for name in parts}
        return {name: unpacked(value, real) for name, value in packed.items()}

    def _encode(self, images: Tensor, parts: frozenset[str]) -> dict[str, Tensor]:
        rows = self.tower(images, parts=parts)
        return {name: rows.part(name) for name in parts}


def unpacked(packed: Tensor, real: Tensor) -> Tensor:
    """Put rows (N, ...) of real slices where they belong: (R, S, ...), zeros where padded."""
    there = real.view(*real.shape, *[1] * (packed.dim() - 1))
    return packed.new_zeros(*real.shape, *packed.shape[1:]).masked_scatter(there, packed)


def named_for_slices(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of a model of images by the names that they have in a model of slices."""
    new = {"towers.image.": "towers.stack.slice.", "heads.image/": "heads.stack/"}
    old = {name: next((start for start in new if name.startswith(start)), "") for name in weights}
    return {new.get(old[name], "") + name.removeprefix(old[name]): tensor for name, tensor in weights.items()}
