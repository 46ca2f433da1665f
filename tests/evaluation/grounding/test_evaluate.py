"""Rows over many cases: means by hand, patients as clusters, dark maps where nothing is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medvlp.core.errors import DataError
from medvlp.evaluation.grounding.case import Case
from medvlp.evaluation.grounding.evaluate import GroundingRows, evaluate_grounding, youden_threshold
from medvlp.evaluation.grounding.sanity import evaluate_sanity, rank_correlation
from medvlp.evaluation.results import load_result, write_result
from medvlp.statistics.bootstrap import patient_clusters, resample_patients

LEFT, RIGHT = np.eye(5)[[0]], np.eye(5)[[4]]  # over 100 pixels
BOX = ((0.0, 0.0, 20.0, 20.0),)


def case(
    values: np.ndarray, *, at: int, finding: str = "mass", patient: str | None = None, boxes: object = BOX
) -> Case:
    return Case(
        id=f"i{at}",
        patient=patient or f"p{at}",
        finding=finding,
        values=values,
        view=(0, 0, 100, 20),
        size=(20, 100),
        boxes=boxes,  # pyrefly: ignore
    )


def evaluated(cases: list[Case], **options: object) -> object:
    return evaluate_grounding(cases, **{"scale": "peak", "seed": 3, "resamples": 200, "min_positives": 1} | options)  # pyrefly: ignore


def test_every_finding_its_pool_and_its_macro_average() -> None:
    """Mass: 2 of 3 hit; nodule: 0 of 1. Pooled 2/4, macro (2/3 + 0) / 2; a random pixel hits one time in five."""
    cases = [case(LEFT, at=0), case(LEFT, at=1), case(RIGHT, at=2), case(RIGHT, at=3, finding="nodule")]
    found = evaluated(cases)
    value = {label: found.find("pointing_game", label).value for label in ("mass", "nodule", "all", "macro")}
    assert value == pytest.approx({"mass": 2 / 3, "nodule": 0, "all": 0.5, "macro": 1 / 3})
    assert found.find("pointing_game", "all").chance == pytest.approx(0.2)
    assert found.find("pointing_game", "macro").counts.labels_used == 2
    row = found.find("pointing_game", "all")
    assert (row.interval.low, row.interval.method, row.reason) == (None, "none", "too_few_positives")


def test_few_patients_are_those_of_the_class_that_a_number_is_of() -> None:
    """Five patients with a region and four without one, whose maps are dark or not."""
    cases = [case(LEFT if at % 2 else RIGHT, at=at, boxes=BOX if at < 5 else ()) for at in range(9)]
    found = evaluated(cases, thresholds={"mass": 0.5})
    for metric, point, reason in (
        ("pointing_game", None, "few_positives"),
        ("zero_region_specificity", "youden_validate", "too_few_negatives"),
        ("zero_region_auroc", None, "too_few_negatives"),
    ):
        row = found.find(metric, "mass", operating_point=point)
        assert (row.reason, row.interval.low is None) == (reason, reason != "few_positives")


def test_intervals_are_over_patients() -> None:
    """Ten patients with four pictures each that all hit or all miss: the oracle draws patients."""
    hits = [1, 0, 1, 1, 0, 1, 0, 1, 1, 1]
    cases = [
        case(LEFT if hit else RIGHT, at=4 * p + i, patient=f"p{p}") for p, hit in enumerate(hits) for i in range(4)
    ]
    row = evaluated(cases).find("pointing_game", "all")
    weights = resample_patients(patient_clusters([f"p{p}" for p in range(10)]), start=0, stop=200, seed=3)
    expected = np.quantile(np.array(hits) @ weights / 10, [0.025, 0.975])
    assert (row.interval.low, row.interval.high) == pytest.approx(tuple(expected))
    assert (row.counts.n, row.counts.patients) == (40, 10)


def test_regions_are_told_apart_by_their_share_of_the_picture() -> None:
    small, large = ((0.0, 0.0, 5.0, 4.0),), ((0.0, 0.0, 50.0, 20.0),)
    found = evaluated([case(LEFT, at=0, boxes=small), case(LEFT, at=1, boxes=large), case(RIGHT, at=2, boxes=large)])
    assert found.find("pointing_game", "mass", group="area=<2%").counts.n == 1
    assert found.find("pointing_game", "mass", group="area=>8%").value == 0.5
    assert not [row for row in found.metrics if row.group == "area=2-8%"]


def test_a_finding_that_is_not_there_asks_for_a_dark_map() -> None:
    """Strongest values .9 and .5 where it is, .6 and .1 where it is not: three of four pairs in the right order."""
    cases = [
        case(LEFT * v, at=at, boxes=boxes)
        for at, (v, boxes) in enumerate([(0.9, BOX), (0.5, BOX), (0.6, ()), (0.1, ())])
    ]
    found = evaluated(cases, scale="own", thresholds={"mass": 0.55})
    assert found.find("zero_region_auroc", "mass").value == 0.75
    assert found.find("zero_region_specificity@0.5", "mass").value == 0.5
    assert found.find("zero_region_specificity@0.1", "mass").value == 0.0
    row = found.find("zero_region_specificity", "mass", operating_point="youden_validate")
    assert (row.value, row.counts.n, row.operating_point) == (0.5, 2, "youden_validate")
    assert found.find("sensitivity", "mass", operating_point="youden_validate").value == 0.5
    assert found.find("pointing_game", "mass").counts.n == 2


def test_without_a_threshold_fitted_elsewhere_nothing_is_said_of_one() -> None:
    found = evaluated([case(LEFT, at=0), case(LEFT, at=1, boxes=())])
    names = {row.metric for row in found.metrics}
    assert "zero_region_auroc" in names
    assert not {n for n in names if n.startswith("zero_region_specificity") or n == "sensitivity"}


def test_a_box_where_nothing_is_costs_precision() -> None:
    one = evaluated([case(LEFT, at=0, boxes=BOX)]).find("box_ap@0.5", "all")
    two = evaluated([case(LEFT, at=0, boxes=BOX), case(2 * LEFT, at=1, boxes=())]).find("box_ap@0.5", "all")
    assert (one.value, two.value) == (1.0, 0.5)


def test_the_youden_threshold_lies_between_scores_and_needs_both_kinds() -> None:
    peaks, there = np.array([0.0, 3.0, 1.0, 4.0, 2.0]), np.array([False, True, False, True, True])
    assert youden_threshold(peaks, there) == 1.5
    assert youden_threshold(peaks, there | True) is None


def test_no_region_at_all_is_refused() -> None:
    with pytest.raises(DataError, match="No case has a region to be found: give boxes or masks"):
        evaluated([case(LEFT, at=0, boxes=())])


def test_every_row_can_be_made_again_of_the_stored_cases(tmp_path: Path) -> None:
    cases = [case(LEFT, at=0), case(RIGHT, at=1), case(LEFT * 0.2, at=2, boxes=())]
    found = evaluated(cases, thresholds={"mass": 0.5}, split="test")
    write_result(found, tmp_path / "grounding.json")
    again = load_result(tmp_path / "grounding.json")
    make = GroundingRows(scale="peak", seed=3, resamples=200, split="test")
    rows = make.all(again.cases, {"mass": 0.5}, 1)
    assert tuple(rows) == again.metrics == found.metrics


# the maps themselves --------------------------------------------------------------------------------------------------


def test_rank_correlation_is_spearmans() -> None:
    from scipy.stats import spearmanr

    draws = np.random.default_rng(0).integers(0, 5, (20, 2, 12)).astype(float)
    for one, other in draws:
        assert rank_correlation(one.reshape(3, 4), other.reshape(3, 4)) == pytest.approx(
            spearmanr(one, other).statistic
        )
    assert np.isnan(rank_correlation(np.ones((2, 2)), np.eye(2)))


def sane(maps: list[np.ndarray], random: list[np.ndarray]) -> object:
    count = len(maps)
    return evaluate_sanity(
        maps,
        {"all": random},
        ids=[f"i{at}" for at in range(count)],
        patients=[f"p{at}" for at in range(count)],
        findings=["mass"] * count,
        seed=0,
        resamples=50,
        title="The map",
    )


def test_a_map_of_the_picture_alone_survives_random_weights_and_is_flagged() -> None:
    generator = np.random.default_rng(0)
    maps = [generator.random((6, 6)) for _ in range(8)]
    found = sane(maps, [values + 0.01 * generator.random((6, 6)) for values in maps])
    assert found.find("map_of_random_weights", "all").reason == "survives_randomisation"
    assert found.find("map_between_images", "all").reason == "few_patients"  # eight
    assert found.caveats[0].startswith("The map: the map of a model with random weights is much like the model's own")


def test_a_map_that_is_the_same_for_every_picture_is_flagged() -> None:
    generator = np.random.default_rng(0)
    place = generator.random((6, 6))
    found = sane([place * scale for scale in range(1, 9)], [generator.random((6, 6)) for _ in range(8)])
    row = found.find("map_between_images", "all")
    assert (row.value, row.reason) == (pytest.approx(1), "input_independent")
    assert found.find("map_of_random_weights", "all").reason == "few_patients"
    assert "The map: the maps of different pictures are nearly the same" in found.caveats[0]


def test_a_map_that_depends_on_weights_and_pictures_is_not_flagged() -> None:
    generator = np.random.default_rng(1)
    found = sane(*([generator.random((6, 6)) for _ in range(8)] for _ in range(2)))
    assert found.caveats == ()
    assert found.find("map_between_findings", "all").reason == "no_rows"


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(DataError, match="are not equally many, or none"):
        sane([LEFT], [LEFT, RIGHT])
