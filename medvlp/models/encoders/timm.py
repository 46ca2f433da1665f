"""Any backbone of timm as an image tower."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from timm.layers import HybridEmbed, PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Encoder, Level, Site
from medvlp.models.encoders._norm import Norm, set_norm
from medvlp.models.encoders._sites import (
    AddedTokens,
    TokenSite,
    level_name,
    level_numbers,
    level_parts,
    own_attention,
    sites_of,
)
from medvlp.models.encoders._timm import Option, channel_statistic, create_backbone, has_fixed_size


class TimmEncoder(Encoder):
    """A timm backbone without its classifier: a vector, tokens in a grid, and of transformers layers and attention.

    Images are (R, C, H, W) in [0, 1]; mean and standard deviation travel with the weights. Tokens of a convolutional
    backbone are the cells of its last map, row by row; class and register tokens of a transformer are left out.
    `attention` is (R, L, P + N, N), mean over heads; queries are first the P class and register tokens.
    ``level[i]`` are the maps of timm's `feature_info`, finest first; of a backbone whose maps all have one stride,
    such as a ViT, those after each quarter of its depth (UNETR, Hatamizadeh et al. 2022; DPT, Ranftl et al. 2021).

    Args:
        architecture: timm's name, e.g. ``resnet18`` or ``vit_tiny_patch16_224``.
        image_size: side of the square image in pixels; transformers are built for it.
        channels: 1 for gray, 3 for colour; a gray image is shown to a colour backbone in all three channels.
        pretrained: fetch timm's weights from the Hugging Face hub, or take them from its local cache.
        norm: BatchNorm: ``keep``; ``group``: GroupNorm instead, exact over chunks and processes; ``frozen``: fixed
            statistics and weights.
        pool: timm's name of a global pooling; None: the backbone's own.
        columns: parts, side by side, into which a convolutional backbone's last map is cut; each is pooled for itself
            and the vectors are joined: 2 keeps apart the left and the right half of the picture.
        drop_path: rate of stochastic depth.
        coordinates: give the backbone each pixel's row and column as two more channels (CoordConv, Liu et al. 2018), by
            which a pooled convolution can tell left from right.
        unshuffle: side of the squares of pixels that become channels in front of the backbone (space to depth, TResNet,
            Ridnik et al. 2021): with 2 a backbone pays for half the side and still sees every pixel.
        mean: subtracted, one number a channel; None: the backbone's with pretrained weights, else 0.5.
        std: divided by; None: the backbone's with pretrained weights, else 0.25.
        channels_last: memory order of a convolutional backbone, a matter of speed only; None: on, but with GroupNorm
            and for FastViT, where it damages memory on a CPU (oneDNN).
        options: further sizes by timm's own names, e.g. ``{layers: [1, 1, 1, 1], channels: [32, 64, 128, 256]}``.

    Raises:
        ConfigError: for an architecture or option that timm does not know, or that cannot be built; for `columns` where
            there is no map to cut.
        UserError: if pretrained weights are asked for and cannot be had.

    Example:
        >>> tower = TimmEncoder(architecture="resnet10t", image_size=64, channels=1)
        >>> rows = tower(torch.rand(2, 1, 64, 64), parts=frozenset({"pooled", "tokens"}))
        >>> rows.pooled.shape, rows.tokens.shape, rows.grid
        (torch.Size([2, 512]), torch.Size([2, 4, 512]), (2, 2))
    """

    kinds = ("image",)
    backbone: Any
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        architecture: str,
        image_size: Annotated[int, Field(ge=16)] = 224,
        channels: Literal[1, 3] = 1,
        pretrained: bool = False,
        norm: Norm = "keep",
        pool: str | None = None,
        columns: Annotated[int, Field(ge=1)] = 1,
        drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        coordinates: bool = False,
        unshuffle: Annotated[int, Field(ge=1)] = 1,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        channels_last: bool | None = None,
        options: Mapping[str, Option] | None = None,
    ) -> None:
        super().__init__()
        self.architecture, self.image_size, self.channels = architecture, image_size, channels
        self.coordinates, self.unshuffle, self.columns = coordinates, unshuffle, columns
        if pretrained and (coordinates or unshuffle > 1):
            raise ConfigError(
                f"timm's {architecture!r} has no pretrained weights for {'coordinates' if coordinates else 'unshuffle'}"
                ": choose one of the two."
            )
        if image_size % unshuffle:
            raise ConfigError(
                f"image_size {image_size} is no multiple of unshuffle {unshuffle}: change one of the two."
            )
        backbone = create_backbone(
            architecture,
            image_size=image_size // unshuffle,
            channels=channels * unshuffle**2 + 2 * coordinates,
            pretrained=pretrained,
            pool=pool,
            drop_path=drop_path,
            options=options or {},
        )
        self.backbone = set_norm(backbone, norm)
        self.pooled_output = nn.Identity()
        self._added = AddedTokens()
        for name, given, plain in (("mean", mean, (0.5,)), ("std", std, (0.25,))):
            own = backbone.pretrained_cfg[name] if pretrained else plain
            statistic = channel_statistic(given, own, channels=channels, name=name)
            self.register_buffer(name, statistic, persistent=False)
        self._measure()
        usual = norm != "group" and not architecture.startswith("fastvit")
        if self._layout == "NCHW" and (usual if channels_last is None else channels_last):
            self._memory = torch.channels_last
            self.backbone.to(memory_format=torch.channels_last)

    def forward(
        self, values: Tensor, *, parts: frozenset[str], mask: Tensor | None = None, position: Tensor | None = None
    ) -> Encoded:
        """Encode (R, C, H, W) images; see `Encoder`."""
        if not isinstance(values, Tensor):
            raise ConfigError("An image tower was given texts: fields of kind image hold tensors.")
        if self.channels == 3 and values.dim() == 4 and values.shape[1] == 1:
            values = values.expand(-1, 3, -1, -1)
        self._check_shape(values)
        pixels = self._stem((values.to(self.mean.dtype) - self.mean) / self.std)
        pixels = pixels.contiguous(memory_format=self._memory)
        layers: list[Tensor] = []
        attention: list[Tensor] = []
        self._added.clear()
        wanted = level_numbers(parts)
        with ExitStack() as stack:
            if "layers" in parts:
                stack.enter_context(_outputs(self._blocks(), layers))
            if "attention" in parts:
                stack.enter_context(_attention_weights(self._blocks(), attention))
            if not wanted:
                features, maps = self._added.drop(self.backbone.forward_features(pixels)), {}
            else:
                features, maps = self._with_maps(pixels, wanted, only=parts <= {level_name(i) for i in wanted})
        tokens = self._tokens(features) if parts & {"tokens", "mask"} else None
        if tokens is not None:
            # The pooled output is made of the very tokens that are given out: heat maps ask for its gradient in them.
            features = self._with_tokens(features, tokens)
        pooled = self._pool(features) if "pooled" in parts else None
        return Encoded(
            owner=torch.arange(values.shape[0], device=values.device),
            pooled=None if pooled is None else self.pooled_output(pooled),
            tokens=tokens if "tokens" in parts else None,
            mask=None if tokens is None else torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device),
            grid=None if tokens is None else self._grid(tokens.shape[1], values.shape[-2], values.shape[-1]),
            layers=torch.stack([self._added.drop(s)[:, self._prefix :] for s in layers], dim=1) if layers else None,
            attention=torch.stack([self._attention(w) for w in attention], dim=1) if attention else None,
            extra=maps,
        )

    def sites(self) -> Mapping[str, Site]:
        """See `Encoder`; the blocks of a convolutional backbone are its stages."""
        blocks = self._blocks()
        found = sites_of(blocks, self.backbone, self.pooled_output)
        if self._layout == "NLC" and blocks:
            removable = isinstance(self.backbone, VisionTransformer)
            # Other transformers tie their tokens to places: windows, or positions that attention adds.
            sort = {"prefix": self._prefix, "removable": removable, "added": self._added if removable else None}
            cutter = dict(self.backbone.named_children()).get("patch_embed")
            cut = Site(cutter, "after") if isinstance(cutter, PatchEmbed | HybridEmbed) else None
            found["tokens.input"] = TokenSite(blocks[0], "before", cut=cut, **sort)  # pyrefly: ignore
            attention = dict(blocks[-1].named_children()).get("attn")
            if attention is not None:
                found["attention.last"] = Site(attention, "after")
        return found

    def blank(self, device: torch.device) -> Tensor:
        """Return one black image."""
        return torch.zeros(1, self.channels, self.image_size, self.image_size, device=device)

    def released(self) -> Mapping[str, object]:
        """See `Encoder`: the bundle brings the weights, mean and std are written out."""
        return {"pretrained": False, "mean": self.mean.flatten().tolist(), "std": self.std.flatten().tolist()}

    # ----------------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _measure(self) -> None:
        """Learn widths and layout from one black image: timm's attributes do not tell them for every backbone."""
        self._memory: torch.memory_format = torch.contiguous_format
        was = self.backbone.training
        self.backbone.eval()
        features = self.backbone.forward_features(self._stem(self.blank(torch.device("cpu"))))
        if not isinstance(features, Tensor) or features.dim() not in (3, 4):
            raise ConfigError(f"timm's {self.architecture!r} gives no single feature map: choose another architecture.")
        if self.columns > 1 and (getattr(self.backbone, "output_fmt", "NCHW") != "NCHW" or features.dim() != 4):
            raise ConfigError(
                f"columns={self.columns} needs the map of a convolutional backbone, which timm's {self.architecture!r} "
                f"does not give: set columns to 1 or choose another architecture."
            )
        self.width = self._pool(features).shape[-1]
        self.backbone.train(was)
        if features.dim() == 3:
            self._layout, self.token_width = "NLC", features.shape[-1]
            self._prefix = int(getattr(self.backbone, "num_prefix_tokens", 0))
            count = features.shape[1] - self._prefix
            side = round(count**0.5)
            self._patch = self.image_size / side if side * side == count else None
        else:
            last = getattr(self.backbone, "output_fmt", "NCHW") == "NHWC"
            self._layout, self.token_width = ("NHWC", features.shape[3]) if last else ("NCHW", features.shape[1])
            self._prefix, self._patch = 0, None
            self._map_rows = features.shape[1 if last else 2]
        offers = {"pooled", "tokens", "mask"}
        if self._layout == "NLC" and len(self._blocks()):
            offers.add("layers")
            if all(hasattr(getattr(block, "attn", None), "attn_drop") for block in self._blocks()):
                offers.add("attention")
        self.levels, self._maps = self._published()
        self.offers = frozenset(offers) | level_parts(self.levels)

    def _published(self) -> tuple[tuple[Level, ...], tuple[int, ...]]:
        """Return the levels and which of timm's maps each of them is."""
        infos: Any = getattr(self.backbone, "feature_info", None)
        if not isinstance(infos, list) or not hasattr(self.backbone, "forward_intermediates"):
            return (), ()
        used = tuple(range(len(infos)))
        if len({info["reduction"] for info in infos}) == 1 and len(infos) > 4:
            used = tuple((quarter + 1) * len(infos) // 4 - 1 for quarter in range(4))
        strides = [int(infos[i]["reduction"]) * self.unshuffle for i in used]
        return tuple(Level(int(infos[i]["num_chs"]), (s, s)) for i, s in zip(used, strides, strict=True)), used

    def _with_maps(self, pixels: Tensor, wanted: list[int], *, only: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the features, without meaning where maps are all that is asked for, and the maps asked for."""
        flat = self._layout == "NLC"
        options = {"output_fmt": "NLC" if flat else "NCHW", "intermediates_only": only, "stop_early": only}
        found = self.backbone.forward_intermediates(pixels, indices=[self._maps[i] for i in wanted], **options)
        features, maps = (pixels, found) if only else (self._added.drop(found[0]), found[1])
        if flat:
            maps = [self._drawn(self._own(tokens), pixels) for tokens in maps]
        return features, {level_name(i): each for i, each in zip(wanted, maps, strict=True)}

    def _own(self, tokens: Tensor) -> Tensor:
        """Return tokens (R, N, W) without those that patches put in; class and register tokens are gone already."""
        if self._added.where is None:
            return tokens
        return self._added.drop(F.pad(tokens, (0, 0, self._prefix, 0)))[:, self._prefix :]

    def _drawn(self, tokens: Tensor, pixels: Tensor) -> Tensor:
        """(R, N, W) -> (R, W, rows, columns)."""
        grid = self._grid(tokens.shape[1], pixels.shape[-2] * self.unshuffle, pixels.shape[-1] * self.unshuffle)
        if grid is None:
            raise ConfigError(
                f"A patch takes tokens out of the image tower {self.architecture!r}, and maps need all of them: drop "
                f"the patch, or what reads the tower's levels."
            )
        return tokens.transpose(1, 2).unflatten(2, grid)

    def _stem(self, pixels: Tensor) -> Tensor:
        """Return what the backbone reads: squares of pixels as channels, and where each square lies."""
        if self.unshuffle > 1:
            pixels = F.pixel_unshuffle(pixels, self.unshuffle)
        return torch.cat([pixels, _coordinates(pixels)], dim=1) if self.coordinates else pixels

    def _blocks(self) -> list[nn.Module]:
        blocks = getattr(self.backbone, "blocks", None)
        if self._layout == "NLC":
            return list(blocks) if isinstance(blocks, (nn.Sequential, nn.ModuleList)) else []
        return [self.backbone.get_submodule(str(info["module"])) for info in self.backbone.feature_info]

    def _pool(self, features: Tensor) -> Tensor:
        """Return the pooled rows (R, columns x width of a pooling)."""
        if self.columns == 1:
            return self.backbone.forward_head(features, pre_logits=True)
        width, n = features.shape[3], self.columns
        # Bounds as of adaptive pooling: parts share a cell where the width does not divide.
        parts = [features[..., i * width // n : -(-(i + 1) * width // n)] for i in range(n)]
        return torch.cat([self.backbone.forward_head(part, pre_logits=True) for part in parts], dim=1)

    def _tokens(self, features: Tensor) -> Tensor:
        if self._layout == "NLC":
            return features[:, self._prefix :]
        return features.flatten(2).transpose(1, 2) if self._layout == "NCHW" else features.flatten(1, 2)

    def _attention(self, weights: Tensor) -> Tensor:
        """Return (R, P + N, N): mean over heads of (R, heads, Q, K)."""
        if self._added.where is None:
            return weights[..., self._prefix :].mean(dim=1)
        return own_attention(weights.mean(dim=1), self._added)[..., self._prefix :]

    def _with_tokens(self, features: Tensor, tokens: Tensor) -> Tensor:
        """Return the same features, rebuilt from their tokens."""
        if self._layout == "NLC":
            return torch.cat([features[:, : self._prefix], tokens], dim=1)
        return tokens.transpose(1, 2).reshape(features.shape) if self._layout == "NCHW" else tokens.view(features.shape)

    def _grid(self, count: int, height: int, width: int) -> tuple[int, int] | None:
        """Return (rows, columns), or None where a patch took tokens away."""
        if self._layout == "NLC":
            if self._patch is None:
                return None
            rows, columns = int(height // self._patch), int(width // self._patch)
        else:
            # A stride is the same for every size, up to the rounding of odd maps, which the count settles.
            rows = round(height * self._map_rows / self.image_size) or 1
            columns = count // rows
        return (rows, columns) if rows * columns == count else None

    def _check_shape(self, values: Tensor) -> None:
        if values.dim() != 4 or values.shape[1] != self.channels:
            raise ConfigError(
                f"The image tower {self.architecture!r} takes images of shape (R, {self.channels}, H, W) and was given "
                f"{tuple(values.shape)}: set channels of the tower to that of the data's views."
            )
        if values.shape[-2] % self.unshuffle or values.shape[-1] % self.unshuffle:
            raise ConfigError(
                f"The image tower {self.architecture!r} takes sides that are multiples of {self.unshuffle} and was "
                f"given {values.shape[-2]} x {values.shape[-1]}: change the size of the data's views."
            )
        dynamic = bool(getattr(self.backbone, "dynamic_img_size", False))
        if has_fixed_size(self.architecture) and not dynamic and values.shape[-2:] != (self.image_size,) * 2:
            raise ConfigError(
                f"The image tower {self.architecture!r} is built for {self.image_size} x {self.image_size} pixels and "
                f"was given {values.shape[-2]} x {values.shape[-1]}: set image_size to the size of the data's views."
            )


def _coordinates(pixels: Tensor) -> Tensor:
    """Return where each pixel lies, (R, 2, H, W): rows and columns from -1 to 1."""
    rows, columns = (torch.linspace(-1, 1, n, dtype=pixels.dtype, device=pixels.device) for n in pixels.shape[-2:])
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(pixels.shape[0], -1, -1, -1)


@contextmanager
def _outputs(modules: Sequence[nn.Module], found: list[Tensor]) -> Iterator[None]:
    """Collect what modules return while the context is open."""
    hooks = [module.register_forward_hook(lambda _m, _i, out: found.append(out)) for module in modules]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _attention_weights(blocks: Sequence[nn.Module], found: list[Tensor]) -> Iterator[None]:
    """Collect softmaxed attention weights (R, heads, Q, K): the fused kernel never forms them, so it is set aside."""
    layers: list[Any] = [block.attn for block in blocks]
    fused = [layer.fused_attn for layer in layers]
    hooks = [layer.attn_drop.register_forward_pre_hook(lambda _m, seen: found.append(seen[0])) for layer in layers]
    try:
        for layer in layers:
            layer.fused_attn = False
        yield
    finally:
        for layer, hook, before in zip(layers, hooks, fused, strict=True):
            hook.remove()
            layer.fused_attn = before
