"""SyCoCa (Ma et al. 2024): CoCa both ways: words from the likest patches, and the likest patches from the words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.encoded import promoted
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import HeadSpec
from medvlp.core.term import Term, Terms
from medvlp.objectives._rows import first_of
from medvlp.objectives.caption import Caption, Count
from medvlp.state.attentive_mask import most


class Sycoca(Caption):
    r"""`caption` from the patches that are most like the text, and masked patches drawn again with the text's help.

    next_token: `Caption` whose decoder sees the round(keep N) tokens of the picture with the largest relevance, and all
    of them when a report is asked for. patches: w times the sum over hidden patches of the mean squared error of their
    pixels, over the number of hidden patches; a decoder reads the visible tokens of the picture with holes and all
    words of its text. What is hidden is the state `attentive_mask`'s: the likest patches. CoCa's third term, the
    contrast, is `clip` beside it, at half this objective's weight.

    Args:
        image: view of the pictures; its copy with holes is ``image.masked``.
        text: view of the texts.
        keep: share of the patches that is written from; 1: all, which is `caption`.
        patch_weight: w, of ``patches`` beside ``next_token``.
        side: pixels a side to which a patch is brought before it is compared.
        words: ``own`` or ``tower``, as in `Caption`.
        width: of the writer.
        layers: of the writer and of the decoder of patches.
        heads: of their attention.
        head: name under which the writer is mounted.

    Returns:
        ``next_token`` and ``patches``.

    References:
        Ma et al. 2024, "SyCoCa: symmetrizing contrastive captioners with attentive masking", as known from its abstract
        and summaries; keep, the mask's ratio, the weight, and that pixels are compared by squares, are choices of this
        project, not checked against the authors' code.

    Note:
        To draw a finding from its sentence it must be hidden whole, and a small one covers less than a patch: with
        cells of 32 pixels a nodule is learned as a shade.

    Example:
        >>> sorted(Sycoca().heads()), "vector.hidden" in {str(key) for key in Sycoca().needs()}
        (['captioner', 'patch_filler'], True)
    """

    def __init__(
        self,
        *,
        image: str = "image",
        text: str = "text",
        keep: Annotated[float, Field(gt=0, le=1)] = 0.5,
        patch_weight: Annotated[float, Field(ge=0)] = 1.0,
        side: Count = 8,
        words: Literal["own", "tower"] = "own",
        width: Count | None = None,
        layers: Count = 2,
        heads: Count = 4,
        head: str = "captioner",
    ) -> None:
        super().__init__(image=image, text=text, words=words, width=width, layers=layers, heads=heads, head=head)
        self.keep, self.patch_weight, self.side = keep, patch_weight, side
        self._pixels, self._masked, self._text = image, f"{image}.masked/tokens", text
        self._filler = HeadSpec("patch_filler", {"side": side, "layers": layers, "heads": heads})

    def needs(self) -> frozenset[Key]:
        """What `Caption` needs, the picture with holes, the text's tokens, and what the state adds."""
        more = (self._pixels, "vector.relevance", "vector.hidden", self._masked, f"{self._text}/tokens")
        return super().needs() | keys(*more)

    def heads(self) -> Mapping[str, HeadSpec]:
        """The writer, and the decoder of patches, which is not released."""
        return {**super().heads(), "patch_filler": self._filler}

    def forward(self, ctx: Context) -> Terms:
        """Return the two terms."""
        text = first_of(ctx.owner(f"{self._text}/tokens"), ctx.owner(self._masked))
        rows = (text >= 0).nonzero()[:, 0]
        hidden = ctx["vector.hidden"][rows] > 0 if len(rows) else torch.zeros(0, 1, dtype=torch.bool)
        grid = ctx.grid(self._masked)
        tokens, words = ctx[self._masked][rows], ctx[f"{self._text}/tokens"][text[rows]]
        mask = ctx[f"{self._text}/mask"][text[rows]]
        hidden = hidden if len(rows) else hidden.expand(0, tokens.shape[1]).to(tokens.device)
        made = cast("Any", ctx.heads["patch_filler"]).pixels(tokens, hidden, grid, words, mask)
        # A step without pictures does not know how large they are.
        true = patches_of(ctx[self._pixels][rows], grid, self.side) if len(rows) else torch.zeros_like(made)
        errors = (promoted(made) - true).square().mean(dim=2)
        term = Term.of(errors.flatten(), hidden.flatten())
        return {**super().forward(ctx), "patches": term.times(self.patch_weight)}

    def _seen(self, ctx: Context, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the tokens of some pictures, and which of them are relevant enough."""
        memory, mask = super()._seen(ctx, image)
        if self.keep == 1 or not len(image):
            return memory, mask
        relevance = ctx["vector.relevance"][image]
        return memory, most(relevance, max(self.keep, 1 / relevance.shape[1]))


def patches_of(pixels: Tensor, grid: tuple[int, ...], side: int) -> Tensor:
    """Return the gray pixels of each cell of a grid, brought to side x side: (R, N, side * side).

    Example:
        >>> patches_of(torch.arange(16.0).view(1, 1, 4, 4), (2, 2), 1)[0, :, 0].tolist()
        [2.5, 4.5, 10.5, 12.5]
    """
    rows, columns = grid
    small = F.interpolate(promoted(pixels).mean(dim=1, keepdim=True), size=(rows * side, columns * side), mode="area")
    return F.pixel_unshuffle(small, side).flatten(2).transpose(1, 2)
