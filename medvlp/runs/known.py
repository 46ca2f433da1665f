"""Whether a model is judged on what it was trained on: its bundle's hashes against the records that are judged."""

from __future__ import annotations

import logging
from typing import Any

from medvlp.config.tree import DataConfig, EvaluationConfig
from medvlp.core.errors import DataError
from medvlp.data.leakage import Overlap, Seen
from medvlp.data.leakage.rows import namespace_of
from medvlp.data.manifest import Manifest

logger = logging.getLogger(__name__)

UNKNOWN = "Not known whether the judged patients were in the model's training: its bundle carries no hashes of them."
PARTLY = (
    "Not known whether the judged patients were in the training of the bundle that the model started from: it carries "
    "no hashes of them."
)


def compare_with_training(
    seen: Seen | None, manifest: Manifest, *, data: DataConfig, options: EvaluationConfig
) -> dict[str, Any]:
    """Refuse records that a model was trained or chosen on, and return what is to be kept of the comparison.

    Of the part ``validate`` it is known that models are chosen on it: there patients by whom this model was chosen are
    let pass and logged, those of its training are refused as everywhere.

    Args:
        seen: the hashes of the bundle; None where it does not know.
        manifest: the data, split.
        data: whether leaks are let pass.
        options: which part is judged, and on which thresholds are chosen.

    Returns:
        ``caveats`` (logged too), ``known`` (``all``, ``part``, ``nothing``), and of what was compared ``found``,
        ``patients`` and ``images`` of the training, and ``near_images``: whether near copies were looked for.

    Raises:
        DataError: if there is an overlap that is not let pass: how many of which kind, and how to mend it.
    """
    if seen is None or not seen.hashes:
        logger.info(UNKNOWN)
        return {"known": "nothing", "caveats": [UNKNOWN]}
    leaks: Any = manifest.meta.get("leaks")
    near = bool(leaks and leaks.get("near_images")) and seen.hasher is not None
    judged = manifest.split_of(options.split)
    chosen_on = options.split == "validate"
    caveats = [] if seen.complete else [PARTLY]
    found = seen.overlap(judged, parts=("train",) if chosen_on else ("train", "validate"), near=near)
    if found.records:
        if not data.allow_leaks:
            raise DataError(_refusal(found, manifest, options.split))
        caveats.append(
            f"The model was trained or chosen on {found.counted()} of what is judged, and is judged on them all the "
            "same: numbers on them are too good."
        )
    if chosen_on:
        own = seen.overlap(judged, parts=("validate",), near=near)
        if own.records:
            caveats.append(f"The model was chosen on {own.counted()} of what is judged: numbers on them are too good.")
    fit = options.fit
    if fit is not None and fit != options.split and fit in set(manifest.column("split").tolist()):
        fitted = seen.overlap(manifest.split_of(fit), parts=("train",), near=near)
        if fitted.records:
            caveats.append(
                f"Thresholds and calibrations are chosen on the part {fit}, and the model was trained on "
                f"{fitted.counted()} of it: they are too confident."
            )
    for sentence in caveats:
        logger.info(sentence)
    return {
        "known": "all" if seen.complete else "part",
        "caveats": caveats,
        "found": dict(found.found),
        "patients": seen.count("patient"),
        "images": seen.count("image"),
        "near_images": near,
    }


def _refusal(found: Overlap, manifest: Manifest, split: str) -> str:
    numbers = "image" not in found.found and "near_image" not in found.found and _numbered(manifest)
    other = ", set data.namespace where patient numbers here mean other people than in training" if numbers else ""
    return (
        f"The model was trained or chosen on {found.counted()} of the part {split!r} that is judged, the first is "
        f"{found.first!r}: judge other patients, or a part that was held out{other}, or set data.allow_leaks=true "
        "(medvlp adapt: --allow-leaks) and results will be marked."
    )


def _numbered(manifest: Manifest) -> bool:
    """Whether patients are only numbered alike: their numbering has no name."""
    sets: Any = manifest.meta.get("sets")
    return any(not each["namespace"] for each in sets.values()) if sets else not namespace_of(manifest)
