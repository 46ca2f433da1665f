"""Learned prompts that are others for each image that asks."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.models.patches.coop import CoOp


class AskedPrompt(CoOp):
    """CoOp's context plus a shift for each of R images: the head `text_classifier` asks for R x K texts a step.

    Raises:
        ConfigError: by a pass that encodes the bank by itself.
    """

    name: str

    @abstractmethod
    def shift(self, images: Encoded, words: Tensor) -> Tensor:
        """Return what is added to all vectors of a context: (R, W) of R images, or (R K, W) of each with each text."""

    def contexts(self, words: Tensor) -> Tensor:
        """Return the context of each text of each image, (R K, M, W)."""
        if self._rows.images is None:
            raise ConfigError(
                f"The patch {self.name!r} makes of the texts of {self._rows.view!r} others for each picture, and "
                "nobody asked with one: read them by the head text_classifier, and limit the patch to that bank by "
                "view."
            )
        shift = self.shift(self._rows.images, words)
        return super().contexts(words) + shift.repeat_interleave(len(words) // len(shift), dim=0)[:, None]
