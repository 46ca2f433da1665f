"""Pictures of cases, small, inside the page: read by `medvlp.io` as a display shows them, never written anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from medvlp.data.manifest import Manifest
from medvlp.features.drawing import png_uri
from medvlp.io.image import Image
from medvlp.io.inspection import Look, look
from medvlp.io.member import size_and_time
from medvlp.io.middle_slice import usual_axial
from medvlp.serving.browse.shelf import rows_of

EDGE = 256
_FACTS = ("Modality", "ViewPosition", "ImageLaterality", "BodyPartExamined", "Manufacturer")


@dataclass(frozen=True)
class Album:
    """Pictures of the cases of one manifest; without one there are none."""

    manifest: Manifest | None

    def path(self, name: str) -> Path | None:
        """Return the first file of a case; None where no manifest names one."""
        if self.manifest is None or name not in rows_of(self.manifest):
            return None
        row = rows_of(self.manifest)[name]
        found = (self.manifest.paths(row, field) for field in self.manifest.file_columns)
        return next((paths[0] for paths in found if paths), None)

    def html(self, name: str) -> str:
        """Return a case's picture as HTML, or a sentence that says why there is none."""
        path = self.path(name)
        if path is None:
            return '<p class="none">No manifest below the folder names a picture of this case.</p>'
        try:
            _, changed = size_and_time(path)
        except OSError:
            return '<p class="none">Its file is not there: give the folder of the data with --root.</p>'
        return _html(path, changed)


@lru_cache(maxsize=512)
def _html(path: Path, changed: int) -> str:
    seen = look(Look(str(path)))
    if seen.content is None:
        return (
            f'<p class="none">It cannot be read: {escape(str(seen.document["hint"]).replace(str(path.parent), ""))}</p>'
        )
    shown = seen.content if isinstance(seen.content, Image) else usual_axial(seen.content)
    meta = seen.document.get("meta") or {}
    facts = ", ".join(str(meta[key]) for key in _FACTS if meta.get(key))
    return f'<img src="{png_uri(small(shown.pixels))}" alt="{escape(facts)}" title="{escape(facts)}">'


def small(pixels: np.ndarray, edge: int = EDGE) -> NDArray[np.uint8]:
    """Return (h, w) or (h, w, 3) uint8 whose longer edge is at most `edge`.

    Example:
        >>> small(np.ones((512, 256), np.float32)).shape
        (256, 128)
    """
    picture = Pillow.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8))
    picture.thumbnail((edge, edge), Pillow.Resampling.BOX)
    return np.asarray(picture)
