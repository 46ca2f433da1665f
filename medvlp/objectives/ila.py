"""ILA's auxiliary loss (Tu et al. 2023): what two neighbouring frames show around their points shall agree."""

from __future__ import annotations

from medvlp.core.context import Context
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import Objective
from medvlp.core.term import Term, Terms


class IlaObjective(Objective):
    r"""L = mean over pairs of neighbouring real frames of sum over blocks of (1 - cos), cosines of the encoder ``ila``.

    Frames of a stack share its tower, so a pair is own by nature: nothing is gathered, and no other sample takes part.

    Args:
        view: stacks, encoded by the encoder ``ila``: the cosines are its part ``alignment`` (R, S, L), at frame s those
            of s and s + 1.

    Returns:
        ``alignment``; a stack of one frame adds nothing.

    References:
        Tu et al. 2023 (ILA, ICCV), its alignment loss beside the cross entropy of the classes.

    Note:
        It rewards windows that show the same, a still background best of all. Keep its weight small where what changes
        is the finding: a valve that opens, a lung that slides.

    Example:
        >>> import torch
        >>> rows = {"stack/alignment": torch.tensor([[[1.0, 0.5], [0.0, 0.0]]])}  # one pair, two blocks
        >>> rows["stack/mask"] = torch.ones(1, 2, dtype=torch.bool)
        >>> IlaObjective()(Context.of(rows, {"text": ["clear"]}))["alignment"].value().item()
        0.5
    """

    scope = "sample"

    def __init__(self, *, view: str = "stack") -> None:
        super().__init__()
        self.view = view

    def needs(self) -> frozenset[Key]:
        """The cosines, and which frames are real."""
        return keys(f"{self.view}/alignment", f"{self.view}/mask")

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        apart = (1 - ctx[f"{self.view}/alignment"][:, :-1]).sum(dim=2)
        real = ctx[f"{self.view}/mask"]
        return {"alignment": Term.of(apart.flatten(), (real[:, :-1] & real[:, 1:]).flatten().to(apart.dtype))}
