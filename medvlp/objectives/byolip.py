"""BYOLIP (Fini et al. 2023): SiamLIP whose targets are projections by a slowly following copy of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from medvlp.core.keys import Key, keys
from medvlp.objectives.siamlip import SiamLip


class ByoLip(SiamLip):
    r"""L = mean over the pairs (a, b) and both directions of mean over rows of 2 - 2 cos(p(h_a), h'_b).

    h' is the projection by the teacher, the moving average of the model; all else is `SiamLip`. The teacher encodes in
    eval mode, so its BatchNorm takes the running statistics, which follow the student's, where BYOL takes the step's.

    Args:
        hidden, width, layers: as in `siamlip`.
        pairs: of views, such as ``[[image, text], [image.strong, text.strong]]``.
        teacher: state `ema`; the paper's decay is 0.99 a step.
        head: name of the projection.

    Returns:
        ``A_to_B`` for each direction.

    References:
        Fini et al. 2023, section 3; Grill et al. 2020 (BYOL), eq. 2.

    Note:
        As of `SiamLip`: there are no negatives, so rare findings do not count for themselves.

    Example:
        >>> [str(key) for key in sorted(ByoLip().needs()) if key.who]
        ['state:ema', 'ema:image/byolip', 'ema:text/byolip']
    """

    def __init__(
        self,
        *,
        pairs: Sequence[tuple[str, str]] = (("image", "text"),),
        teacher: str = "ema",
        hidden: Annotated[int, Field(ge=1)] = 4096,
        width: Annotated[int, Field(ge=1)] = 256,
        layers: Annotated[int, Field(ge=2)] = 2,
        head: str = "byolip",
    ) -> None:
        super().__init__(pairs=pairs, hidden=hidden, width=width, layers=layers, head=head)
        self.teacher = teacher
        self._target = f"{teacher}:"

    def needs(self) -> frozenset[Key]:
        """Predictions by the student, projections by the teacher."""
        return super().needs() | keys(f"state:{self.teacher}")
