"""Texts that are others for each picture: what a patch on them reads of the pictures that ask."""

from __future__ import annotations

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.models._draws import RowDraws

__all__ = ["pictures_of"]


def pictures_of(rows: RowDraws, *, patch: str) -> Encoded:
    """Return the R pictures; of the rows that are encoded each has K, one a text, together.

    Raises:
        ConfigError: if the texts are encoded by themselves.
    """
    if rows.pictures is None:
        raise ConfigError(
            f"The patch {patch!r} makes of the texts of {rows.view!r} others for each picture, and nobody asked with "
            "one: read them by the head text_classifier, and limit the patch to that bank by view."
        )
    return rows.pictures
