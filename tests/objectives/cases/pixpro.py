"""Two large crops of one image, of which half lies in both."""

from __future__ import annotations

from torch import Tensor

from medvlp.core.sample import ImageRecord
from tests.objectives.cases import crops, method
from tests.objectives.cases.clip import TOKENS


def records(indices: Tensor) -> dict[str, tuple[ImageRecord, ...]]:
    """Where the large crops lie: the second some pixels to the right of the first."""
    boxes = [((0, 0, 32, 32), (8 + i % 3, 4, 40 + i % 3, 36)) for i in indices.tolist()]
    return {"image.large": tuple(ImageRecord(seed=0, box=box) for pair in boxes for box in pair)}


CASES = {
    "crops": method(
        {"name": "pixpro", "hidden": 12, "width": 6},
        columns=crops,
        records=records,
        states={"ema": {"name": "ema", "horizon": {"start": 60.0, "end": 600.0, "until": 24}}},
        spec=TOKENS,
    )
}
