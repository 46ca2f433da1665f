"""Frames of a stack through one vision transformer, whose blocks let neighbouring frames know of each other."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Site
from medvlp.models.encoders._sites import TokenSite
from medvlp.models.encoders.slices import SliceEncoder, unpacked


class Frames:
    """Which frames of R stacks are real, bool (R, S), while these are encoded, and what blocks gave out meanwhile.

    A tower of images sees the real frames only, packed: (N, ...), stack by stack.
    """

    def __init__(self) -> None:
        self.enter(torch.ones(0, 0, dtype=torch.bool))

    def enter(self, real: Tensor, *, noting: bool = False) -> None:
        """Begin with other stacks."""
        self.real, self.noting = real, noting
        self.noted: list[Tensor] = []

    def unpack(self, packed: Tensor) -> Tensor:
        """Return (R, S, ...) of (N, ...), zeros where no frame is."""
        return unpacked(packed, self.real)

    def pack(self, values: Tensor) -> Tensor:
        """Return (N, ...) of (R, S, ...)."""
        return values[self.real]


class Exchange(nn.Module):
    """What happens between frames around one block of the tower of images."""

    def __init__(self, frames: Frames) -> None:
        super().__init__()
        self.frames = frames

    @abstractmethod
    def before(self, tokens: Tensor) -> Tensor:
        """Return what enters the block instead of the frames' tokens (N, P + n, W)."""

    def after(self, tokens: Tensor) -> Tensor:
        """Return what leaves the block instead of what it gave."""
        return tokens

    def join(self, block: nn.Module) -> None:
        """Stand around a block; bound methods, so that a copy of the whole joins the copied block."""
        block.register_forward_pre_hook(self._enter)
        block.register_forward_hook(self._leave)

    def _enter(self, block: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self.before(inputs[0]), *inputs[1:])

    def _leave(self, block: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return self.after(output)


class FrameEncoder(SliceEncoder):
    """Base of encoders as `SliceEncoder` whose frames exchange something in every block; see there for the rest.

    Beside its parts it offers ``patches`` (R, n, W), the tower's tokens averaged over the real frames.

    Args:
        slice: a vision transformer of timm with a class token.
        chunk: frames at a time where the tower is not trained; a stack stays whole.

    Raises:
        ConfigError: for another tower, or stacks of features, which have nothing left to exchange.
    """

    beside = frozenset({"patches"})

    def __init__(self, *, slice: dict[str, Any], chunk: int, seed: int, where: str) -> None:
        super().__init__(slice=slice, chunk=chunk, seed=seed, where=where)
        site = self.slice.sites().get("tokens.input")
        if not isinstance(site, TokenSite) or not site.removable or not site.prefix:
            raise ConfigError(
                f"{where}.slice has no class token and plain blocks through which frames could exchange anything: "
                "choose a vision transformer of timm, such as vit_small_patch16_224."
            )
        self.frames, self.prefix = Frames(), site.prefix
        self.offers = self.offers | self.beside

    def blocks(self) -> list[nn.Module]:
        """The tower's blocks."""
        return [site.module for name, site in self.slice.sites().items() if name.startswith("block.before[")]

    def sites(self) -> Mapping[str, Site]:
        """Those of the tower but ``tokens.input``: patches may not change a frame's tokens one by one."""
        return {name: site for name, site in super().sites().items() if name != "tokens.input"}

    def _made(self, values: Tensor, real: Tensor, parts: frozenset[str]) -> dict[str, Tensor]:
        if values.shape[2:] == (self.width, 1, 1):
            raise ConfigError(
                "Frames that exchange something in every block need their pixels: give stacks of pictures, or use the "
                "encoder slices for stacks of features."
            )
        # See `SliceEncoder`; what frames exchange may train around a tower that is frozen, and therefore evaluating.
        ahead = torch.is_grad_enabled() or self.training
        trained = ahead and any(p.requires_grad for p in self.parameters())
        size = len(values) if trained else max(1, self.chunk // max(1, values.shape[1]))
        turns = self.draws.turns(int(r.sum()) for r in real.split(size))
        some = zip(turns, values.split(size), real.split(size), strict=True)
        each = [self._stacks(v, r, parts) for _, v, r in some]
        return {name: torch.cat([one[name] for one in each]) for name in parts}

    def _stacks(self, values: Tensor, real: Tensor, parts: frozenset[str]) -> dict[str, Tensor]:
        """Return parts of a few whole stacks."""
        self.frames.enter(real, noting="alignment" in parts)
        plain = parts - self.beside
        rows = self.slice(values[real], parts=plain | {"tokens" if "patches" in parts else "pooled"})
        found = {name: self.frames.unpack(rows.part(name)) for name in plain}
        if "patches" in parts:
            count = real.sum(1).clamp_min(1)[:, None, None]
            found["patches"] = self.frames.unpack(rows.part("tokens")).sum(1) / count
        if self.frames.noting:
            found["alignment"] = torch.stack(self.frames.noted, dim=2)
        self.frames.enter(real[:0])
        return found
