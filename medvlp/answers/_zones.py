"""Places of a frontal film, lobes, angles, heart: rough boxes on the side on which they are displayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from medvlp.core.places import to_view
from medvlp.core.sample import ImageRecord
from medvlp.core.turns import nearest_turn

Box = tuple[float, float, float, float]

# x0, y0, x1, y1 in shares of a frontal film as it is displayed, of the patient's right side: it lies on the left of the
# film. The left side is its mirror image. Rough on purpose: films are centred and collimated differently.
ZONES: Mapping[str, Box] = {
    "": (0.0, 0.0, 0.5, 1.0),
    "upper lobe": (0.05, 0.1, 0.5, 0.45),
    "middle lobe": (0.05, 0.4, 0.5, 0.7),
    "mid lung": (0.05, 0.4, 0.5, 0.7),
    "lingula": (0.05, 0.4, 0.5, 0.7),
    "lower lobe": (0.05, 0.5, 0.5, 0.95),
    "lung base": (0.05, 0.6, 0.5, 0.95),
    "lung apex": (0.05, 0.05, 0.5, 0.3),
    "hilum": (0.2, 0.35, 0.5, 0.65),
    "costophrenic angle": (0.0, 0.65, 0.35, 1.0),
    "hemidiaphragm": (0.05, 0.6, 0.5, 1.0),
}
MIDDLE: Mapping[str, Box] = {
    "heart": (0.3, 0.4, 0.8, 0.9),
    "mediastinum": (0.35, 0.05, 0.65, 0.95),
    "retrocardiac region": (0.45, 0.5, 0.75, 0.95),
    "spine": (0.4, 0.0, 0.6, 1.0),
}


def boxes_of_place(anatomy: str, side: str) -> list[Box]:
    """Return the boxes of a place in shares of the film; none of one that is not known.

    An anatomy without a zone is its side's half. Without a side, and bilateral, both sides are meant.

    Example:
        >>> boxes_of_place("lung apex", "left"), boxes_of_place("rib", "")
        ([(0.5, 0.05, 0.95, 0.3)], [])
    """
    if anatomy in MIDDLE:
        return [MIDDLE[anatomy]]
    if anatomy not in ZONES and side not in ("left", "right"):
        return []
    x0, y0, x1, y1 = ZONES.get(anatomy, ZONES[""])
    right, left = (x0, y0, x1, y1), (1 - x1, y0, 1 - x0, y1)
    return {"right": [right], "left": [left]}.get(side, [right, left])


def mask_of_boxes(boxes: Sequence[Box], record: ImageRecord | None, size: tuple[int, int]) -> Tensor:
    """Return which pixels of a view (H, W) have their middle in boxes in shares of the film; see `ImageRecord`.

    Where nobody knows how large the film is, it is the part that the view shows.
    """
    frame = (0.0, 0.0, float(size[1]), float(size[0])) if record is None else record.box
    if record is not None and record.source is not None:
        frame = (0.0, 0.0, float(record.source[-1]), float(record.source[-2]))
    x0, y0, x1, y1 = frame
    boxes = boxes if record is None else _as_stored(boxes, record)
    corners = torch.tensor(boxes) * torch.tensor([x1 - x0, y1 - y0] * 2) + torch.tensor([x0, y0] * 2)
    return inside(corners if record is None else to_view(corners, record, size), size)


def _as_stored(boxes: Sequence[Box], record: ImageRecord) -> list[Box]:
    """Boxes in shares of the film as it hangs -> of the film as its file stores it, which may lie otherwise."""
    if record.matrix is None or len(record.matrix) != 2:
        return list(boxes)
    (a, b, _), (d, e, _) = record.matrix
    a, d = (-a, -d) if record.flip else (a, d)  # that the view is a mirror image says nothing of the file
    swaps, across, down = nearest_turn(((a, b), (d, e)))
    boxes = [(y0, x0, y1, x1) for x0, y0, x1, y1 in boxes] if swaps else boxes
    boxes = [(1 - x1, y0, 1 - x0, y1) for x0, y0, x1, y1 in boxes] if across else boxes
    return [(x0, 1 - y1, x1, 1 - y0) for x0, y0, x1, y1 in boxes] if down else list(boxes)


def inside(corners: Tensor, size: tuple[int, int]) -> Tensor:
    """Return which pixels have their middle in one of the boxes (n, 4), in pixels: bool (H, W)."""
    y, x = (torch.arange(n, dtype=torch.float32) + 0.5 for n in size)
    found = torch.zeros(size, dtype=torch.bool)
    for x0, y0, x1, y1 in corners.tolist():
        found |= ((y >= y0) & (y < y1))[:, None] & ((x >= x0) & (x < x1))[None]
    return found
