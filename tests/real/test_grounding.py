"""The thirty boxes of the NIH pack: real files, real boxes, a model that knows nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medvlp.data.layouts.nih_chestxray14 import index
from medvlp.data.prepare import Prepared, prepare
from medvlp.evaluation.evaluation import Evaluation, EvaluationOptions
from medvlp.evaluation.grounding.regions import Regions
from medvlp.measures.grounding import Grounding

if TYPE_CHECKING:
    from medvlp.answers.asking.model import VisionLanguageModel


def test_maps_are_measured_against_the_boxes_of_the_nih_pack(
    pack: Callable[[str], Path], model: VisionLanguageModel
) -> None:
    from medvlp.answers.asking.model import VisionLanguageModel
    from medvlp.runs.data import build_views

    manifest = index(pack("nih-cxr14"))
    prompts = [
        {"label": label, "positive": [f"There is {label}."], "negative": [f"There is no {label}."], "name": "x"}
        for label in ("pneumonia", "effusion")
    ]
    told = [replace(each, options={"prompts": prompts}) for each in model.bundle.answers if "prompts" in each.options]
    bundle = replace(model.bundle, answers=told)
    asking = VisionLanguageModel(bundle)
    views = build_views(bundle.preprocessing, where="preprocessing")
    drawn = [name for name in manifest.names if name.startswith("boxes.")]
    known = np.any([manifest.arrow(name).is_valid().to_numpy(zero_copy_only=False) for name in drawn], axis=0)
    known[np.flatnonzero(~known)[::60]] = True  # some without a box
    some = manifest.take(known)

    def opened(split: str) -> Prepared:
        return prepare(some.where({"split": split}), views)

    splits = sorted(set(some.column("split").tolist()))
    judged = "test" if "test" in splits else splits[0]
    evaluation = Evaluation(
        asking,
        whole=some,
        manifest=some,
        open=opened,
        others=lambda where: some,
        where={},
        options=EvaluationOptions(resamples=100, split=judged, min_positives=1),
        recipe="",
        synthetic=False,
    )
    found = {result.name: result for result in Grounding(sanity=4).run(evaluation)}
    assert set(found) >= {"grounding_hires_cam", "grounding_hires_cam_random", "grounding_centre"}
    pictures = some.where({"split": judged})
    boxed = sum(value is not None for value in pictures.arrow("boxes.pneumonia").to_pylist())
    for name in ("grounding_hires_cam", "grounding_centre"):
        row = found[name].find("pointing_game", "pneumonia")
        assert row.counts.n == boxed
        assert row.chance is not None
        assert 0.01 < row.chance < 0.5  # the share of a picture that a pneumonia takes: boxes and files agree in scale
    regions = Regions(some)
    assert {"pneumonia", "effusion", "infiltration", "mass"} <= set(regions.findings)
    unboxed = [
        i
        for i in range(len(some))
        if some.record(i).get("label.pneumonia") == 1 and "boxes.pneumonia" not in some.record(i)
    ]
    assert all(regions.of(some, i, "pneumonia") is None for i in unboxed)
