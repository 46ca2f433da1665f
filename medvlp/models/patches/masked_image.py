"""Hidden patches of a picture: what masked image modelling (BEiT, iBOT) asks a tower to fill in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Site
from medvlp.core.registry import FromModel
from medvlp.models.encoders._sites import TokenSite
from medvlp.models.patches._patch import Patch, Patched, Uniform


class MaskedImage(Patch):
    """In training some tokens of some rows give way to one learned token; the part ``hidden`` says which.

    A row is masked with probability `share`; then the share of its N tokens that is hidden is uniform in `ratio`, and
    which ones they are is drawn for each row. Class and register tokens stay. A hidden token is given its place as any
    other, or all of a picture would be one. In eval mode nothing is hidden, so a teacher sees the whole picture. Limit
    it to the view that is to be filled in: ``view: image.large``.

    Args:
        kind: tower.
        on: site; only ``tokens.input`` knows the tokens in their places.
        share: of rows that are masked.
        ratio: smallest and largest share of a masked row's tokens.

    Raises:
        ConfigError: at a site that does not hold all tokens (a convolutional tower has none), or for a faulty ratio.

    References:
        Zhou et al. 2022 (iBOT), section 3.1, random masking; share and ratio as in DINOv2 (Oquab et al. 2023).

    Note:
        A small finding may be hidden whole: nobody can fill it in, and what is learned there is the usual anatomy.

    Example:
        >>> site = TokenSite(nn.Identity(), "after", prefix=1)
        >>> draw, widths = lambda n: torch.rand(2, n), {"image": 8}
        >>> patch = MaskedImage(site=site, uniform=draw, widths=widths, share=1, ratio=(0.5, 0.5))
        >>> patch(torch.rand(2, 1 + 16, 8), torch.zeros(0)).parts["hidden"].sum(dim=1).tolist()
        [8, 8]
    """

    idle = True
    gives = ("hidden",)

    def __init__(
        self,
        *,
        site: Annotated[Site, FromModel("site")],
        uniform: Annotated[Uniform, FromModel("uniform")],
        widths: Annotated[Mapping[str, int], FromModel("token_widths")],
        kind: str = "image",
        on: str = "tokens.input",
        share: Annotated[float, Field(gt=0, le=1)] = 0.5,
        ratio: tuple[float, float] = (0.1, 0.5),
    ) -> None:
        super().__init__()
        if not isinstance(site, TokenSite):
            raise ConfigError(
                f"masked_image stands at tokens.input, and {on!r} is another site: write on: tokens.input."
            )
        if not 0 < ratio[0] <= ratio[1] <= 1:
            raise ConfigError(f"masked_image hides a share in 0 < ratio <= 1, smallest first, not {list(ratio)}.")
        self.share = share
        self.ratio = ratio
        self.token = nn.Parameter(torch.zeros(widths[kind]))
        self._prefix = site.prefix if site.cut is None else 0
        self._uniform = uniform

    def stands_at(self, site: Site) -> Site:
        """Return where tokens have not got their places yet."""
        return site.cut if isinstance(site, TokenSite) and site.cut is not None else site

    def forward(self, value: Tensor, source: Tensor) -> Patched:
        """Hide tokens of (R, P + N, W), or of a grid (R, rows, columns, W)."""
        tokens = value.flatten(1, -2)
        count = tokens.shape[1] - self._prefix
        hidden = torch.zeros(len(value), count, dtype=torch.bool, device=value.device)
        if self.training:
            draws = self._uniform(count + 2).to(value.device)
            low, high = self.ratio
            number = ((low + (high - low) * draws[:, 0]) * count).round().clamp(min=1) * (draws[:, 1] < self.share)
            hidden = draws[:, 2:].argsort(dim=1, stable=True).argsort(dim=1) < number[:, None]
        own = torch.where(hidden[:, :, None], self.token.to(value.dtype), tokens[:, self._prefix :])
        return Patched(torch.cat([tokens[:, : self._prefix], own], dim=1).view_as(value), parts={"hidden": hidden})
