"""Two image towers as one: Mixture of Features (MoF, Tong et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Encoder, Site
from medvlp.core.registry import FromModel
from medvlp.models.encoders._build import build_tower
from medvlp.models.encoders._sites import level_parts, linear_sites
from medvlp.models.pretrained_head import misfits

Side = Literal["first", "second"]


class MofEncoder(Encoder):
    r"""One tower of two: what the first does not see, such as a side, a self-supervised second one may.

    With c_i and d_i the adapted tokens of both towers at the cell i,

        interleaved   c_1, d_1, c_2, d_2, ..., c_N, d_N    pooled = [mean_i c_i, mean_i d_i]
        additive      a c_i + (1 - a) d_i                  pooled = mean_i of them

    The grid of interleaved tokens is (rows, 2 columns): two tokens share a cell of the picture, its left half is the
    first tower's, so that a map drawn from tokens is right to a quarter of a cell. Where the second tower has another
    grid, its tokens are interpolated to the first's. The pooled vector is made of the tokens that are given out, so
    that gradients of a score reach them; ``level[i]`` are the first tower's.

    Args:
        first: component of `models/encoders` for images: of images and texts, in the paper.
        second: another one, self-supervised in the paper; both are shown the same pixels.
        how: the paper's two mixtures.
        share: a, of ``additive``.
        width: W of the tokens, to which a linear adapter of each tower maps; None: no adapter, tokens as they are.
        weights: ``first`` or ``second`` -> bundle whose image tower that tower starts as; a released bundle brings
            its own.

    Returns:
        `Encoded` with ``tokens`` (R, 2N, W) or (R, N, W), ``pooled`` (R, 2W) or (R, W).

    Raises:
        ConfigError: for towers of other tokens than each other's without adapters, or weights of another tower.

    References:
        Tong et al. 2024, Eyes Wide Shut, additive and interleaved MoF. The paper gives the tokens to a language model
        through adapters, of two layers in its scripts, and has no pooled vector: ours is an addition.

    Note:
        Freeze both towers and train adapters and projections, as the paper does: tuned on few reports the second
        forgets what the first never saw. Two towers are twice the time at a workstation.

    Example:
        >>> spec = {"name": "timm", "architecture": "resnet10t", "image_size": 64}
        >>> tower = MofEncoder(first=spec, second=spec).eval()
        >>> rows = tower(torch.rand(1, 1, 64, 64), parts=frozenset({"tokens", "pooled"}))
        >>> rows.tokens.shape, rows.grid, rows.pooled.shape
        (torch.Size([1, 8, 512]), (2, 4), torch.Size([1, 1024]))
    """

    kinds = ("image",)

    def __init__(
        self,
        *,
        first: dict[str, Any],
        second: dict[str, Any],
        how: Literal["interleaved", "additive"] = "interleaved",
        share: Annotated[float, Field(ge=0, le=1)] = 0.5,
        width: Annotated[int, Field(ge=1)] | None = None,
        weights: Mapping[Side, str] = {},
        seed: Annotated[int, FromModel("seed")] = 0,
        where: Annotated[str, FromModel("where")] = "model.vision",
    ) -> None:
        super().__init__()
        self.share = share if how == "additive" else None
        self._released: dict[str, object] = {"weights": {}}
        self.first, self.second = (
            self._built(spec, name, seed=seed, where=where) for name, spec in (("first", first), ("second", second))
        )
        for name, bundle in weights.items():
            _start(self.get_submodule(name), Path(bundle), where=f"{where}.weights.{name}")
        widths = [tower.token_width for tower in (self.first, self.second)]
        if width is None and widths[0] != widths[1]:
            raise ConfigError(
                f"{where}: tokens of the first tower have the width {widths[0]} and those of the second {widths[1]}: "
                "set width, to which an adapter of each maps."
            )
        made = (nn.Identity() if width is None else nn.Linear(own, width) for own in widths)
        self.adapters = nn.ModuleList(made)
        self.token_width = width or widths[0]
        self.width = self.token_width * (1 if how == "additive" else 2)
        _, self.channels, self.image_size, _ = self.first.blank(torch.device("cpu")).shape
        self.levels = self.first.levels
        self.offers = frozenset({"pooled", "tokens", "mask"}) | level_parts(self.levels)

    def _built(self, spec: dict[str, Any], name: str, *, seed: int, where: str) -> Encoder:
        _, tower, self._released[name] = build_tower(
            spec, ("image",), stream=f"image {name}", seed=seed, where=f"{where}.{name}"
        )
        return tower

    def forward(
        self, values: Tensor, *, parts: frozenset[str], mask: Tensor | None = None, position: Tensor | None = None
    ) -> Encoded:
        """Encode (R, C, H, W) images; see `Encoder`."""
        mixed = parts & {"tokens", "mask", "pooled"}
        own = frozenset({"tokens"}) if mixed else frozenset()
        first = self.first(values, parts=(parts & level_parts(self.levels)) | own)
        if not mixed:
            return first
        second = self.second(values, parts=own)
        one, other = (adapt(rows.tokens) for adapt, rows in zip(self.adapters, (first, second), strict=True))
        other, grid = _on_grid(other, second.grid, first.grid), first.grid
        if one.shape != other.shape:
            raise ConfigError(f"The two towers give {one.shape[1]} and {other.shape[1]} tokens that form no grid.")
        if self.share is None:
            tokens = torch.stack([one, other], dim=2).flatten(1, 2)
            pooled = tokens.unflatten(1, (-1, 2)).mean(dim=1).flatten(1)
            grid = None if grid is None else (grid[0], 2 * grid[1])
        else:
            tokens = self.share * one + (1 - self.share) * other
            pooled = tokens.mean(dim=1)
        return replace(
            first,
            pooled=pooled if "pooled" in parts else None,
            tokens=tokens if "tokens" in parts else None,
            mask=torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device),
            grid=grid,
        )

    def sites(self) -> Mapping[str, Site]:
        """The linear layers of both towers, ``linear[first.NAME]`` and ``linear[second.NAME]``."""
        return linear_sites(self)

    def blank(self, device: torch.device) -> Tensor:
        """One black image."""
        return self.first.blank(device)

    def released(self) -> Mapping[str, object]:
        """See `Encoder`."""
        return self._released


def _on_grid(tokens: Tensor, grid: tuple[int, ...] | None, wanted: tuple[int, ...] | None) -> Tensor:
    """Return tokens (R, N, W) of one grid at the cells of another, bilinearly."""
    if grid is None or wanted is None or grid == wanted:
        return tokens
    cells = tokens.transpose(1, 2).unflatten(2, grid)
    return F.interpolate(cells, size=wanted, mode="bilinear", align_corners=False).flatten(2).transpose(1, 2)


def _start(tower: nn.Module, bundle: Path, *, where: str) -> None:
    """Let a tower start as the image tower of a bundle."""
    from medvlp.models.bundle import load_model  # which builds models of all encoders, this one among them

    start = "towers.image."
    there = load_model(bundle)
    given = {n.removeprefix(start): t for n, t in there.state_dict().items() if n.startswith(start)}
    plain = {n.removeprefix(start): t for n, t in there.named_buffers()}  # mean and spread of pixels among them
    other = [n for n, t in tower.named_buffers() if n not in given and not (n in plain and t.equal(plain[n]))]
    if faults := misfits(tower.state_dict(), given) or other:
        raise ConfigError(
            f"{where}: the image tower of {bundle} is another one ({len(faults)} tensors differ, such as "
            f"{faults[0]!r}): give both the same options."
        )
    tower.load_state_dict(given)
