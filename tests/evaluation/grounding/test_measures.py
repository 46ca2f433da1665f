"""Measures of one map against one region, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from medvlp.core.errors import DataError
from medvlp.evaluation.grounding.baselines import centre_prior, constant_box, fit_constant_box
from medvlp.evaluation.grounding.box_ap import (
    Detections,
    box_average_precision,
    box_iou,
    boxes_of_map,
    boxes_of_region,
    match,
)
from medvlp.evaluation.grounding.case import Box, Case
from medvlp.evaluation.grounding.measures import contrast_to_noise, grid_ceiling, measure, overlap, pointing, scaled


def case_of(values: object, *, size: tuple[int, int] = (8, 8), view: Box | None = None, **options: object) -> Case:
    return Case(
        id="a",
        patient="p",
        finding="mass",
        values=np.asarray(values, dtype=float),
        view=view or (0.0, 0.0, float(size[1]), float(size[0])),
        size=size,
        **options,  # pyrefly: ignore
    )


# where a map lies ----------------------------------------------------------------------------------------------------


def test_a_map_is_read_between_the_middles_of_its_cells() -> None:
    """Two cells over eight pixels: the middles lie at 2 and 6, pixel middles at .5, 1.5 ...; the ends are held."""
    row = case_of([[0.0, 1.0]], size=(1, 8)).evidence[0]
    np.testing.assert_allclose(row, [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1])


def test_a_padded_view_is_laid_on_the_file_it_came_from() -> None:
    """A 4 x 8 file in a square view has bands above and below, which are no pixels of the file."""
    values = np.zeros((8, 8))
    values[2, 1] = 1.0  # the view's row 2 is the file's first
    found = case_of(values, size=(4, 8), view=(0, -2, 8, 6)).evidence
    assert np.unravel_index(found.argmax(), found.shape) == (0, 1)
    assert found[0, 1] == 1.0


def test_what_a_cropped_view_does_not_show_is_not_a_number_and_never_predicted() -> None:
    case = case_of(np.ones((2, 2)), view=(2, 0, 6, 8), boxes=((0, 0, 4, 8),))
    seen = ~np.isnan(case.evidence)
    np.testing.assert_array_equal(seen.any(0), [False, False, True, True, True, True, False, False])
    assert measure(case, scale="peak")["iou@0.5"] == pytest.approx(2 / 6)
    assert measure(case, scale="peak")["pointing_game"] == 0.5


def test_a_mirrored_view_is_turned_back() -> None:
    plain, turned = case_of([[1.0, 0.0]]).evidence, case_of([[0.0, 1.0]], flip=True).evidence
    np.testing.assert_array_equal(plain, turned)


def test_a_box_holds_the_pixels_whose_middle_it_holds_and_at_least_one() -> None:
    assert np.argwhere(case_of([[0.0]], boxes=((1, 2, 3, 4),)).region).tolist() == [[2, 1], [2, 2], [3, 1], [3, 2]]
    assert np.argwhere(case_of([[0.0]], boxes=((1.6, 2.6, 2.4, 3.4),)).region).tolist() == [[2, 1]]


def test_of_a_large_file_every_kth_pixel_is_looked_at() -> None:
    case = case_of([[0.0, 1.0]], size=(100, 200), most_pixels=1300, boxes=((100, 0, 200, 100),))
    assert case.step == 4
    assert case.evidence.shape == (25, 50)
    assert measure(case, scale="peak")["iou@0.5"] == 1.0
    mask = np.zeros((100, 200), dtype=bool)
    mask[:, 100:] = True
    outlined = case_of([[0.0, 1.0]], size=(100, 200), most_pixels=1300, mask=mask)
    np.testing.assert_array_equal(outlined.region, case.region)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"values": [[np.nan]]}, "has shape .1, 1. or holds NaN"),
        ({"values": [[0.0]], "view": (4.0, 0.0, 4.0, 8.0)}, "is empty: give x0 < x1"),
        ({"values": [[0.0]], "boxes": ((4, 4, 4, 5),)}, "A box of 'mass' in 'a' is empty"),
        (
            {"values": [[0.0]], "mask": np.ones((2, 2), dtype=bool)},
            "mask of .mass. in .a. is .2, 2., the file .8, 8.: bring",
        ),
    ],
)
def test_what_is_no_case_is_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        case_of(**options)  # pyrefly: ignore


# pointing ------------------------------------------------------------------------------------------------------------


def test_equal_strongest_pixels_hit_by_their_share() -> None:
    evidence = np.array([[5.0, 5.0, 5.0, 1.0]])
    assert pointing(evidence, np.array([[True, False, False, False]])) == pytest.approx(1 / 3)
    assert pointing(evidence, np.array([[True, True, False, True]])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7, 1 / 3])
def test_a_flat_map_hits_as_often_as_a_random_pixel(value: float) -> None:
    """Also after it was enlarged: no rounding breaks the tie."""
    case = case_of(np.full((3, 5), value), size=(50, 70), boxes=((0, 0, 35, 20), (40, 30, 50, 50)))
    assert measure(case, scale="peak")["pointing_game"] == (35 * 20 + 10 * 20) / 3500


def test_the_tolerance_is_in_pixels_of_the_file() -> None:
    values = np.zeros((40, 40))
    values[20, 20] = 1.0
    near, far = ((20.0, 35.0, 21.0, 36.0),), ((20.0, 36.0, 21.0, 37.0),)
    for boxes, hit in ((near, 1.0), (far, 0.0)):
        found = measure(case_of(values, size=(40, 40), boxes=boxes), scale="peak")
        assert (found["pointing_game"], found["pointing_game_15px"]) == (0.0, hit)
    halved = case_of(values, size=(80, 80), boxes=((40, 70, 42, 72),), most_pixels=1600)  # 30 pixels of the file away
    assert measure(halved, scale="peak")["pointing_game_15px"] == 0.0


def test_a_map_that_saw_nothing_hits_nothing() -> None:
    case = case_of([[1.0]], view=(100.0, 100.0, 108.0, 108.0), boxes=((0, 0, 4, 4),))
    found = measure(case, scale="peak")
    assert (found["pointing_game"], found["mean_iou"]) == (0.0, 0.0)
    assert np.isnan(found["cnr"])


# overlap and contrast -------------------------------------------------------------------------------------------------


def test_overlap_by_hand_and_by_definition() -> None:
    predicted, region = np.array([1, 1, 1, 0, 0], dtype=bool), np.array([0, 1, 1, 1, 1], dtype=bool)
    assert overlap(predicted, region) == (2 / 5, 4 / 7)
    assert overlap(~predicted & ~region & False, region) == (0.0, 0.0)
    assert np.isnan(overlap(region & False, region & False)).all()


def test_thresholds_are_fixed_and_the_mean_is_over_one_to_five_tenths() -> None:
    """Columns of cosine .1 .2 .3 .4 .5 .6 on eight rows; the region is the last column."""
    values = np.tile([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], (2, 1)) + 1e-9
    found = measure(case_of(values, size=(2, 6), boxes=((5, 0, 6, 2),)), scale="own")
    expected = [1 / 6, 1 / 5, 1 / 4, 1 / 3, 1 / 2]
    assert [found[f"iou@0.{i}"] for i in range(1, 6)] == pytest.approx(expected)
    assert found["mean_iou"] == pytest.approx(np.mean(expected))
    assert found["mean_dice"] == pytest.approx(np.mean([2 * x / (1 + x) for x in expected]))


def test_an_empty_map_marks_nothing_and_a_negative_one_is_empty() -> None:
    for values in (np.zeros((2, 2)), -np.ones((2, 2))):
        found = measure(case_of(values, boxes=((0, 0, 4, 4),)), scale="peak")
        assert (found["mean_iou"], found["mean_dice"], found["cnr"], found["pointing_game"]) == (0, 0, 0, 0.25)
        assert boxes_of_map(case_of(values)) == []


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=20), st.floats(0.1, 10))
def test_peak_values_do_not_change_with_the_maps_unit(values: list[float], unit: float) -> None:
    grid = np.array([values])
    np.testing.assert_allclose(scaled(grid, "peak"), scaled(grid * unit, "peak"), atol=1e-9)


def test_contrast_to_noise_by_hand() -> None:
    """Inside 4, 6: mean 5, variance 1; outside 0, 2, 4: mean 2, variance 8/3."""
    evidence, region = np.array([4.0, 6.0, 0.0, 2.0, 4.0, np.nan]), np.array([1, 1, 0, 0, 0, 1], dtype=bool)
    assert contrast_to_noise(evidence, region) == pytest.approx(3 / np.sqrt(1 + 8 / 3))
    assert contrast_to_noise(-evidence, region) == pytest.approx(-3 / np.sqrt(1 + 8 / 3))
    assert np.isnan(contrast_to_noise(np.array([1.0, 0.0]), np.array([True, False])))


@pytest.mark.parametrize("value", [0.1, 0.3, 1 / 3, -0.7])
def test_a_flat_map_has_no_contrast_whatever_its_value(value: float) -> None:
    """The mean of many equal numbers is not that number to the last bit."""
    region = np.zeros((64, 64), dtype=bool)
    region[3:10, 5:17] = True
    assert contrast_to_noise(np.full((64, 64), value), region) == 0.0
    assert np.isnan(contrast_to_noise(np.where(region, value, 0.2), region))


# boxes ----------------------------------------------------------------------------------------------------------------


def test_each_connected_part_is_one_box_and_its_strongest_value_the_score() -> None:
    values = np.zeros((8, 8))
    values[1:3, 1:4], values[2, 2], values[6, 6] = 0.6, 1.0, 0.8
    found = boxes_of_map(case_of(values))
    assert found == [(1.0, (1, 1, 4, 3)), (pytest.approx(0.8), (6, 6, 7, 7))]


def test_a_cell_at_half_the_peak_is_marked_and_one_below_is_not() -> None:
    values = np.zeros((8, 8))
    values[0, :3] = 0.5, 1.0, 0.499
    assert boxes_of_map(case_of(values)) == [(1.0, (0, 0, 2, 1))]


def test_boxes_of_a_mask_are_those_around_its_parts() -> None:
    mask = np.zeros((8, 8), dtype=bool)
    mask[0:2, 0:3], mask[5:8, 4:5] = True, True
    assert boxes_of_region(case_of([[0.0]], mask=mask)) == [(0, 0, 3, 2), (4, 5, 5, 8)]
    assert label(mask)[1] == 2


def test_a_true_box_is_found_once() -> None:
    truth = [(0.0, 0.0, 4.0, 4.0)]
    assert match([(0.9, (0, 0, 4, 4)), (0.8, (0, 0, 4, 4))], truth, iou=0.5) == [True, False]
    assert match([(0.9, (0, 0, 4, 1))], truth, iou=0.5) == [False]
    assert match([], truth, iou=0.5) == []


def test_box_average_precision_by_hand() -> None:
    """Scores .9 hit, .8 miss, .7 hit; three true boxes, one never found: (1/1 + 2/3) / 3."""
    found = Detections(
        np.array([0.7, 0.9, 0.8]), np.array([1, 1, 0], dtype=bool), np.array([0, 1, 1]), np.array([2, 1])
    )
    assert box_average_precision(found, np.ones((2, 1)))[0] == pytest.approx((1 + 2 / 3) / 3)


def test_equal_scores_are_one_step_whatever_their_order() -> None:
    for hit in ([True, False], [False, True]):
        found = Detections(np.array([0.5, 0.5]), np.array(hit), np.array([0, 0]), np.array([1]))
        assert box_average_precision(found, np.ones((1, 1)))[0] == 0.5


def test_a_weight_of_two_is_the_case_twice_and_no_true_box_is_no_number() -> None:
    found = Detections(
        np.array([0.9, 0.8, 0.7]), np.array([0, 1, 1], dtype=bool), np.array([0, 1, 2]), np.array([0, 1, 1])
    )
    twice = Detections(
        np.array([0.9, 0.8, 0.7, 0.7]),
        np.array([0, 1, 1, 1], dtype=bool),
        np.array([0, 1, 2, 3]),
        np.array([0, 1, 1, 1]),
    )
    weights = np.array([[1.0, 1.0], [1.0, 0.0], [2.0, 0.0]])
    value, undefined = box_average_precision(found, weights)
    assert value == pytest.approx(box_average_precision(twice, np.ones((4, 1)))[0])
    assert np.isnan(undefined)


# baselines ------------------------------------------------------------------------------------------------------------


def test_the_centre_prior_points_at_the_middle_of_the_file_whatever_the_view() -> None:
    case = centre_prior(case_of([[0.0]], size=(30, 50), view=(-5.0, -5.0, 20.0, 20.0), flip=True))
    assert np.abs(np.argwhere(case.evidence == case.evidence.max()).mean(0) - [14.5, 24.5]).max() < 1


def test_the_constant_box_is_one_of_the_training_boxes_and_overlaps_them_most() -> None:
    left, right, odd = (0.1, 0.2, 0.4, 0.8), (0.6, 0.2, 0.9, 0.8), (0.4, 0.0, 0.6, 0.1)
    assert fit_constant_box([[left], [left, right], [right, odd], [left]]) == left
    with pytest.raises(DataError, match="no training boxes"):
        fit_constant_box([[], []])


def test_a_box_without_an_area_overlaps_nothing() -> None:
    line, box = (0.2, 0.2, 0.2, 0.6), (0.1, 0.1, 0.5, 0.5)
    assert box_iou(line, line) == box_iou(line, box) == 0.0
    assert fit_constant_box([[line], [box]]) == box
    assert match([(0.9, line)], [line], iou=0.5) == [False]


def test_a_constant_box_that_is_the_truth_is_found_whole() -> None:
    case = constant_box(case_of([[0.0]], size=(64, 128), boxes=((32, 16, 64, 48),)), (0.25, 0.25, 0.5, 0.75))
    found = measure(case, scale="peak")
    assert found["pointing_game"] == 1.0
    assert found["iou@0.5"] > 0.9


# what the grid allows -------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.booleans(), st.integers(0, 10_000))
def test_the_ceiling_is_the_best_of_all_maps_with_one_cell(rows: int, columns: int, flip: bool, seed: int) -> None:
    """Every such map is drawn and points; views may be cut from the file or reach beyond it."""
    draw = np.random.default_rng(seed)
    x0, y0 = draw.integers(0, 30, 2)
    box = (float(x0), float(y0), float(x0 + draw.integers(1, 12)), float(y0 + draw.integers(1, 12)))
    view = tuple(float(edge) for edge in (*draw.integers(-6, 10, 2), *draw.integers(20, 50, 2)))
    asked = {"size": (36, 42), "view": view, "boxes": (box,), "flip": flip}
    best = 0.0
    for cell in range(rows * columns):
        values = np.zeros(rows * columns)
        values[cell] = 1.0
        case = case_of(values.reshape(rows, columns), **asked)
        if np.nanmax(case.evidence) > 0:  # the cell is seen in the file
            best = max(best, pointing(case.evidence, case.region))
    assert grid_ceiling(case_of(np.zeros((rows, columns)), **asked)) == pytest.approx(best)


def test_a_finding_between_the_middles_of_the_cells_cannot_be_pointed_at() -> None:
    small = {"size": (64, 64), "boxes": ((27.0, 27.0, 37.0, 37.0),)}
    middles_of = {2: 0.0, 4: 0.0, 8: 1.0}  # cells of 8: one middle at 28
    assert {n: grid_ceiling(case_of(np.zeros((n, n)), **small)) for n in middles_of} == middles_of
    assert measure(case_of(np.eye(8), **small), scale="peak")["grid_ceiling"] == 1.0
