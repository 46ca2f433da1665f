"""Coupled prompts of both towers, block by block (MaPLe, Khattak et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.core.registry import FromModel
from medvlp.models.architectures._sharing import Share
from medvlp.models.encoders._text import TextEncoder
from medvlp.models.patches._patch import Patch, Patched
from medvlp.models.patches.coop import first_word, word_vectors

__all__ = ["MaPLe"]


class CoupledPrompts(nn.Module):
    """For each depth j, prompts P_j (count, W_text), P_0 `first`, and the linear map that makes the image tower's
    of them.
    """

    def __init__(self, *, first: Tensor, depth: int, image: int) -> None:
        super().__init__()
        count, text = first.shape
        later = [0.02 * torch.randn(count, text) for _ in range(depth - 1)]
        self.prompts = nn.ParameterList([first, *later])
        self.couple = nn.ModuleList(nn.Linear(text, image) for _ in range(depth))

    def of(self, kind: str, depth: int) -> Tensor:
        """Return those of a tower, (count, W)."""
        prompts = self.prompts[depth]
        return prompts if kind == "text" else self.couple[depth](prompts)


class MaPLe(Patch):
    """Prompts in front of the first word and behind the last patch; in the first J blocks each meets its own.

    P_0 stands among the words of a text before its positions are added; at the input of block j < J of the text tower
    P_j takes its place. The image tower's are F_j(P_j), F_j linear, behind the tokens with their positions; where the
    tower norms tokens before its first block, as CLIP's does, they stand behind that norm, and in the authors' code
    before it. One list of specifications serves both towers::

        - {name: maple, kind: text, view: bank.findings, on: "words.input, block.before[*]"}
        - {name: maple, kind: image, view: image, on: "tokens.input, block.before[*]"}

    Their numbers are one module, `shared`: train it alone by ``trainable: ["model.shared.maple.*"]``. The paper: 2
    prompts that start as "a photo" of "a photo of a", whose other words stand before the name (here: texts of the bank
    that begin so), J = 9, SGD at 0.0035; J = 1 is shallow prompting.

    Args:
        kind: tower.
        on: sites; of blocks from J on it does nothing.
        tokens: prompts a block.
        depth: J.
        words: that P_0 starts as, instead of N(0, 0.02): as many tokens as `tokens` of them.
        shared: name of the module of both towers.

    Raises:
        ConfigError: if a tower has fewer than J blocks, or the words fewer tokens than are asked for.
    """

    def __init__(
        self,
        *,
        site_name: Annotated[str, FromModel("site_name")],
        widths: Annotated[Mapping[str, int], FromModel("token_widths")],
        blocks: Annotated[Mapping[str, int], FromModel("blocks")],
        text: Annotated[TextEncoder, FromModel("text")],
        share: Annotated[Share, FromModel("share")],
        kind: str,
        on: str,
        tokens: Annotated[int, Field(ge=1)] = 2,
        depth: Annotated[int, Field(ge=1)] = 9,
        words: str | None = None,
        shared: str = "maple",
    ) -> None:
        super().__init__()
        if blocks[kind] < depth:
            raise ConfigError(
                f"maple has depth {depth} and the {kind} tower {blocks[kind]} blocks: lower depth, or choose a "
                "transformer."
            )
        self.kind, self.count = kind, tokens
        self._first = first_word(text.words)
        # At the input of the first block the prompts are put in by the site before it.
        self._block = 0 if site_name.endswith(".input") else int(site_name.partition("[")[2].rstrip("]"))
        self._puts = site_name.endswith(".input")
        self._acts = self._puts or 0 < self._block < depth
        picture = next(width for name, width in widths.items() if name != "text")

        def make() -> CoupledPrompts:
            start = 0.02 * torch.randn(tokens, widths["text"]) if words is None else word_vectors(text, words)[:tokens]
            if len(start) < tokens:
                raise ConfigError(f"maple has {tokens} prompts and {words!r} {len(start)} tokens: write more words.")
            return CoupledPrompts(first=start, depth=depth, image=picture)

        self._prompts = (share(shared, make),)

    def forward(self, value: Tensor, source: Tensor) -> Tensor | Patched:
        """Put prompts into (R, N, W), or others in their place."""
        if not self._acts:
            return value
        shared = self._prompts[0]
        assert isinstance(shared, CoupledPrompts)
        new = shared.of(self.kind, self._block).to(value.dtype).expand(len(value), -1, -1)
        end = value.shape[1] if self._puts else value.shape[1] - self.count
        start = self._first if self.kind == "text" else end
        rest = start if self._puts else start + self.count
        whole = torch.cat([value[:, :start], new, value[:, rest:]], dim=1)
        if not self._puts:
            return whole
        added = torch.zeros(whole.shape[:2], dtype=torch.bool, device=value.device)
        added[:, start : start + self.count] = True
        return Patched(whole, added=added)
