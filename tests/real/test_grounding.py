"""The thirty boxes of the NIH pack: real files, real boxes, a model that knows nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medvlp.config.grounding import grounding_results
from medvlp.config.regions import Regions
from medvlp.config.tree import GroundingConfig
from medvlp.data.layouts.nih_chestxray14 import index
from medvlp.data.prepare import Prepared, prepare
from medvlp.text.prompts import PromptSet

if TYPE_CHECKING:
    from medvlp.answers.asking.model import VisionLanguageModel


def test_maps_are_measured_against_the_boxes_of_the_nih_pack(
    pack: Callable[[str], Path], model: VisionLanguageModel
) -> None:
    from medvlp.answers.asking.model import VisionLanguageModel
    from medvlp.config.build import build_views

    manifest = index(pack("nih-cxr14"))
    prompts = [
        PromptSet(label=label, positive=(f"There is {label}.",), negative=(f"There is no {label}.",), name="x")
        for label in ("pneumonia", "effusion")
    ]
    bundle = replace(model.bundle, zero_shot=[asdict(each) for each in prompts])
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
    found = {
        result.name: result
        for result in grounding_results(
            asking,
            opened(judged),
            some,
            opened,
            options=GroundingConfig(sanity=4),
            split=judged,
            seed=0,
            resamples=100,
            min_positives=1,
            recipe="",
            synthetic=False,
        )
    }
    assert set(found) >= {"grounding_hires_cam", "grounding_hires_cam_random", "grounding_centre"}
    pictures = some.where({"split": judged})
    boxed = sum(value is not None for value in pictures.arrow("boxes.pneumonia").to_pylist())
    for name in ("grounding_hires_cam", "grounding_centre"):
        row = found[name].find("pointing_game", "pneumonia")
        assert row.n == boxed
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
