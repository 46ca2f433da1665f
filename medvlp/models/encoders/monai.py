"""MONAI's networks for volumes, their encoding halves."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError, UserError
from medvlp.core.protocols import Encoder, Level, Site
from medvlp.models.encoders._sites import level_name, level_numbers, level_parts, sites_of
from medvlp.models.encoders._volumes import at_few_slices

Architecture = Literal["unet", "segresnet", "swin_unetr"]
# Default width, and what a width must be a multiple of: norms and attention heads divide it.
_WIDTHS: Mapping[str, tuple[int, int]] = {"unet": (32, 1), "segresnet": (8, 8), "swin_unetr": (24, 12)}


class MonaiEncoder(Encoder):
    """Volumes (R, C, Z, Y, X), or stacks (R, S, C, H, W) of one depth -> maps at several strides along all three axes.

    ``level[i]`` (R, C, z, y, x) are the outputs of the stages, finest first; `tokens` (R, N, W) the cells of the last
    one, slice by slice and row by row, `grid` their (z, y, x), ``pooled`` their mean.

    - ``unet``: `BasicUNet` (Falk et al. 2019), 5 stages at strides 1 to 16, instance norm;
    - ``segresnet``: `SegResNet` (Myronenko 2018), 4 stages at strides 1 to 8, group norm;
    - ``swin_unetr``: `SwinUNETR` (Hatamizadeh et al. 2022), 5 stages at strides 2 to 32, layer norm; its window is 7.

    The decoding halves are the heads' (``unet``, ``fpn``). All volumes of a batch have one size (`sample_slices`).

    Args:
        architecture: above.
        kind: of field: ``stack`` or ``volume``.
        channels: C.
        width: channels of the first stage; None: MONAI's default.
        mean: subtracted from every voxel.
        std: divided by.

    Raises:
        ConfigError: for a width that the network cannot have.
        UserError: for ``swin_unetr`` without the package einops, which MONAI's code of it needs.

    Example:
        >>> tower = MonaiEncoder(architecture="segresnet", kind="volume")
        >>> rows = tower(torch.rand(1, 1, 16, 16, 8), parts=frozenset({"pooled", "tokens", "level[0]"}))
        >>> rows.pooled.shape, rows.grid, rows.extra["level[0]"].shape
        (torch.Size([1, 64]), (2, 2, 1), torch.Size([1, 8, 16, 16, 8]))
    """

    def __init__(
        self,
        *,
        architecture: Architecture = "unet",
        kind: Literal["stack", "volume"] = "stack",
        channels: Annotated[int, Field(ge=1)] = 1,
        width: Annotated[int, Field(ge=1)] | None = None,
        mean: float = 0.5,
        std: Annotated[float, Field(gt=0)] = 0.25,
    ) -> None:
        super().__init__()
        default, divisor = _WIDTHS[architecture]
        width = default if width is None else width
        if width % divisor:
            raise ConfigError(
                f"width {width} of MONAI's {architecture!r} is no multiple of {divisor}: use {divisor}, {2 * divisor} "
                f"or another."
            )
        self.architecture = architecture
        self.kinds = (kind,)
        self.channels = channels
        self.mean, self.std = mean, std
        self.stages, self.levels = _stages(architecture, channels, width)
        self.pooled_output = nn.Identity()
        self.width = self.token_width = self.levels[-1].channels
        self.offers = self.offers | level_parts(self.levels)

    def forward(
        self, values: Tensor, *, parts: frozenset[str], mask: Tensor | None = None, position: Tensor | None = None
    ) -> Encoded:
        """Encode volumes or stacks; see `Encoder`. No stage is run below the last that is asked for."""
        at = self._checked(values, mask)
        wanted = level_numbers(parts)
        below = parts - {level_name(i) for i in wanted}
        last = len(self.stages) - 1 if below or not wanted else wanted[-1]
        at, maps = (at - self.mean) / self.std, []
        for stage in self.stages[: last + 1]:
            at = at_few_slices(stage, at)
            maps.append(_layer_normed(at) if self.architecture == "swin_unetr" else at)
        tokens = maps[-1].flatten(2).transpose(1, 2) if below else None
        return Encoded(
            owner=torch.arange(len(at), device=at.device),
            pooled=self.pooled_output(tokens.mean(1)) if tokens is not None and "pooled" in parts else None,
            tokens=tokens if "tokens" in parts else None,
            mask=None if tokens is None else torch.ones(tokens.shape[:2], dtype=torch.bool, device=at.device),
            grid=None if tokens is None else tuple(maps[-1].shape[2:]),
            extra={level_name(i): maps[i] for i in wanted},
        )

    def sites(self) -> Mapping[str, Site]:
        """See `Encoder`; the blocks are the stages."""
        return sites_of(list(self.stages), self.stages, self.pooled_output)

    def blank(self, device: torch.device) -> Tensor:
        """One volume of zeros."""
        volume = torch.zeros(1, self.channels, 32, 32, 32, device=device)
        return volume.transpose(1, 2) if self.kinds == ("stack",) else volume

    def _checked(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """Return (R, C, Z, Y, X)."""
        kind = self.kinds[0]
        shape = "(R, S, C, H, W)" if kind == "stack" else "(R, C, Z, Y, X)"
        axis = 2 if kind == "stack" else 1
        if values.dim() != 5 or values.shape[axis] != self.channels:
            raise ConfigError(
                f"A tower of MONAI for fields of kind {kind!r} with {self.channels} channels takes {shape} and was "
                f"given {tuple(values.shape)}: set kind and channels to those of the data's views."
            )
        if mask is not None and not bool(mask.all()):
            raise ConfigError(
                "A tower of MONAI reads all slices of a batch at once, and its stacks differ in depth: let the view "
                "`sample_slices` take one number of slices, or choose vision name inflated."
            )
        solid = values.transpose(1, 2) if kind == "stack" else values
        sides = solid.shape[2:]
        # Its pooling rounds down, and its instance norm needs more than one cell.
        if self.architecture == "unet" and (min(sides) < 16 or max(sides) < 32):
            raise ConfigError(
                f"MONAI's 'unet' was given volumes of {' x '.join(map(str, sides))} voxels, and takes at least 16 "
                f"along each axis and 32 along one: give it larger ones, or choose segresnet."
            )
        return solid


def _layer_normed(values: Tensor) -> Tensor:
    """As SwinUNETR hands its maps on: each cell normalised over channels."""
    return nn.functional.layer_norm(values.movedim(1, -1), values.shape[1:2]).movedim(-1, 1)


def _stages(architecture: Architecture, channels: int, width: int) -> tuple[nn.ModuleList, tuple[Level, ...]]:
    """Build MONAI's network and keep its encoding half."""
    net: Any
    if architecture == "unet":
        from monai.networks.nets.basic_unet import BasicUNet

        widths = [width, width, 2 * width, 4 * width, 8 * width]
        net = BasicUNet(spatial_dims=3, in_channels=channels, features=(*widths, width))
        stages = [net.conv_0, net.down_1, net.down_2, net.down_3, net.down_4]
        first = 1
    elif architecture == "segresnet":
        from monai.networks.nets.segresnet import SegResNet

        net = SegResNet(spatial_dims=3, in_channels=channels, init_filters=width)
        stages = [nn.Sequential(net.convInit, net.down_layers[0]), *net.down_layers[1:]]
        widths, first = [width * 2**i for i in range(len(stages))], 1
    else:
        if find_spec("einops") is None:
            raise UserError("MONAI's SwinUNETR needs the package einops: pip install einops, or choose segresnet.")
        from monai.networks.nets.swin_unetr import SwinUNETR

        net = SwinUNETR(in_channels=channels, out_channels=1, feature_size=width).swinViT
        stages = [net.patch_embed, *(getattr(net, f"layers{i}")[0] for i in range(1, 5))]
        widths, first = [width * 2**i for i in range(len(stages))], 2
    levels = tuple(Level(w, (first * 2**i,) * 3) for i, w in enumerate(widths))
    return nn.ModuleList(stages), levels
