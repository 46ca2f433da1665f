"""Each picture with the patient's last one before it: what a report compares with."""

from __future__ import annotations

import pyarrow as pa

from medvlp.core.errors import DataError
from medvlp.data.grouping import rows_of_each
from medvlp.data.manifest import Manifest

_FRONTAL = ("PA", "AP")


def stack_priors(manifest: Manifest) -> Manifest:
    """Give each row a ``stack`` of its image and, where there is one, the prior, in this order.

    The prior is an image of the same patient, in the same part of the split, of the same view (PA and AP are one) and
    of the same ``laterality`` (blank and U, unpaired, are one), from the last study with such an image whose
    ``study_number`` is smaller. Never a later one, and none of the same study or of unknown number; of several the same
    ``view_position`` comes first, then the first row. Rows stay as many as they were, with their reports and labels;
    boxes and masks, which belong to one picture, are left out.

    Args:
        manifest: the cohort, split, with columns ``image``, ``id.patient`` and ``study_number`` (a patient's studies in
            their order in time).

    Raises:
        DataError: if there is no such column, or the numbers of studies are words.

    Note:
        A prior outside the selected rows (another modality, no report, another hospital) is not seen here: "no prior"
        means none in this cohort.

    Example:
        >>> from pathlib import Path
        >>> films = {"id": list("abc"), "image": ["2.png", "1.png", "3.png"], "id.patient": ["p", "p", "q"]}
        >>> made = stack_priors(Manifest.of({**films, "study_number": [2, 1, 1]}, root=Path(".")))
        >>> [made.record(i)["stack"] for i in range(3)]
        [['2.png', '1.png'], ['1.png'], ['3.png']]
    """
    images, numbers = (manifest.arrow(name).to_pylist() for name in ("image", "study_number"))
    if any(isinstance(number, str) for number in numbers):
        raise DataError("study_number holds words, of which '10' stands before '9': number each patient's studies.")
    blank: list[object] = [None] * len(manifest)
    views, sides, parts = (
        manifest.arrow(name).to_pylist() if name in manifest else blank
        for name in ("view_position", "laterality", "split")
    )
    planes = ("frontal" if view in _FRONTAL else view for view in views)
    alike = [(p, v, None if s == "U" else s) for p, v, s in zip(parts, planes, sides, strict=True)]
    stacks: list[list[str] | None] = [None if image is None else [image] for image in images]
    for rows in rows_of_each(manifest, "id.patient"):
        there = [row for row in rows if images[row] is not None and numbers[row] is not None]
        for row in there:
            earlier = [o for o in there if numbers[o] < numbers[row] and alike[o] == alike[row]]
            if earlier:
                prior = max(earlier, key=lambda o: (numbers[o], views[o] == views[row], -o))
                stacks[row] = [images[row], images[prior]]
    columns = {"stack": pa.array(stacks, pa.list_(pa.string()))}
    left_out = [name for name in manifest.names if name.partition(".")[0] in ("image", "boxes", "mask", "stack")]
    columns |= {name: manifest.arrow(name) for name in manifest.names if name not in left_out}
    return Manifest(pa.table(columns), root=manifest.root, meta=manifest.meta)
