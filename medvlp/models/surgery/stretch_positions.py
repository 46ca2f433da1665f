"""A longer text tower: its position embeddings are stretched, the first of them kept."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.encoders._text import TextTower
from medvlp.text.tokenizers import with_length


class StretchPositions:
    """Knowledge-preserved stretching: L positions become keep + ratio (L - keep), the first `keep` as they were.

    Long-CLIP (Zhang et al. 2024, section 3.2; the last interval is extrapolated, as in the authors' code). A text of no
    more than `keep` tokens is encoded as before, and texts are cut at the new length from then on. Freeze what was
    kept: ``trainable: ["*", "!model.towers.text.position[:20]"]``.

    Args:
        keep: positions that stay.
        ratio: positions that each of the others becomes.

    Raises:
        ConfigError: by the call, if the model has no text tower with positions of its own, or no more than `keep`.
    """

    def __init__(self, *, keep: Annotated[int, Field(ge=0)] = 20, ratio: Annotated[int, Field(ge=2)] = 4) -> None:
        self.keep = keep
        self.ratio = ratio

    def __call__(self, model: TowerModel) -> None:
        """Change the model's text tower."""
        tower = dict(model.towers.items()).get("text")
        if not isinstance(tower, TextTower):
            raise ConfigError(
                "stretch_positions needs a text tower with learned positions of this library: use the encoder "
                "'transformer' or the architecture 'single'."
            )
        old = tower.position
        if len(old) < self.keep + 2:
            raise ConfigError(
                f"stretch_positions keeps {self.keep} positions and the text tower has {len(old)}: set keep to "
                f"{len(old) - 2} or less."
            )
        tower.position = nn.Parameter(
            stretched(old.detach(), keep=self.keep, ratio=self.ratio), requires_grad=old.requires_grad
        )
        tower.words = with_length(tower.words, len(tower.position))


def stretched(positions: Tensor, *, keep: int, ratio: int) -> Tensor:
    r"""Return positions (L, W) stretched to (keep + ratio (L - keep), W).

    p'_i = p_i for i < keep, and p'_{keep + ratio i + j} = (1 - j / ratio) p_{keep + i} + (j / ratio) p_{keep + i + 1};
    behind the last position the line through the last two goes on.

    Example:
        >>> stretched(torch.tensor([[0.0], [1.0], [2.0]]), keep=1, ratio=2).flatten().tolist()
        [0.0, 1.0, 1.5, 2.0, 2.5]
    """
    rest = positions[keep:]
    beyond = 2 * rest[-1] - rest[-2]
    share = torch.arange(ratio, dtype=positions.dtype, device=positions.device)[None, :, None] / ratio
    following = torch.cat([rest[1:], beyond[None]])
    between = (1 - share) * rest[:, None] + share * following[:, None]
    return torch.cat([positions[:keep], between.flatten(0, 1)])
