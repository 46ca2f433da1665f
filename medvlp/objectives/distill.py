"""Distillation over a bank (VR-LwF, Ding et al. 2022): images keep the place among texts that a teacher gave."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medvlp.core.context import Context
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import Objective
from medvlp.core.term import Terms
from medvlp.objectives._contrast import contrast


class Distill(Objective):
    r"""Cross entropy between the teacher's and the student's distribution of an image over the texts of a bank.

    L = mean over own image rows of CE(softmax(v0 e0^T / T), softmax(v e^T / T)), v and v0 the student's and the
    teacher's embedding of the same image, e0 the teacher's embeddings of the bank. With the paper's logits s v e^T at
    temperature t, T is t / s (2 / 100), and its factor t^2 belongs to the objective's weight. L is the teacher's
    entropy plus a divergence: its gradient is zero where the student still is the teacher, its value is not.

    The paper's texts are 1000 random pseudo-sentences; here they are those of a bank, and only the images' side is
    distilled. A frozen teacher keeps zero-shot ability through fine-tuning; with a larger one it is plain distillation.

    Args:
        teacher: state that encodes.
        bank: whose texts are the columns.
        image: view of the images.
        temperature: T, of cosines.
        texts: ``teacher``: both sides use e0, as in the paper; ``student``: the student's side uses its own text tower.

    Returns:
        ``distribution``.

    Example:
        >>> import torch
        >>> objective = Distill(teacher="frozen", bank="words", temperature=1.0)
        >>> ctx = Context.of({str(key): torch.eye(2) for key in objective.needs()}, {"text": ["a", "b"]})
        >>> round(objective(ctx)["distribution"].value().item(), 4)  # the entropy of (0.731, 0.269)
        0.5822
    """

    def __init__(
        self,
        *,
        teacher: str,
        bank: str,
        image: str = "image",
        temperature: Annotated[float, Field(gt=0)] = 0.02,
        texts: Literal["teacher", "student"] = "teacher",
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self._image = f"{image}/embedding"
        self._taught_image = f"{teacher}:{image}/embedding"
        self._taught_bank = f"{teacher}:bank.{bank}/embedding"
        self._bank = self._taught_bank if texts == "teacher" else f"bank.{bank}/embedding"

    def needs(self) -> frozenset[Key]:
        """Embeddings of the image by both and of the bank by the teacher, or by both."""
        return keys(self._image, self._taught_image, self._taught_bank, self._bank)

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        target = (ctx[self._taught_image] @ ctx[self._taught_bank].T / self.temperature).softmax(dim=1).detach()
        scores = ctx[self._image] @ ctx[self._bank].T / self.temperature
        return {"distribution": contrast(scores, target)}
