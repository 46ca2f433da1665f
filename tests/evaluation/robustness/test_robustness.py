"""Factors change pictures as they say, alike whoever lies beside; the table is that of paired comparisons."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvlp.core.errors import ConfigError, DataError
from medvlp.evaluation.compare import compare_results
from medvlp.evaluation.results import Result
from medvlp.evaluation.robustness.evaluate import Condition, evaluate_robustness
from medvlp.evaluation.robustness.factors import FACTORS, change, chosen_factors, factor_names
from medvlp.pages.robustness import robustness_rows
from medvlp.statistics.holm import holm


def picture(*, height: int = 48, width: int = 40) -> np.ndarray:
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return (0.3 + 0.4 * x * y + 0.1 * np.sin(9 * x)).astype(np.float32)


@given(st.sampled_from(sorted(FACTORS)), st.integers(2, 40), st.integers(2, 40), st.integers(0, 9))
def test_a_changed_picture_is_a_picture_and_the_same_each_time(factor: str, height: int, width: int, seed: int) -> None:
    before = np.random.default_rng(seed).random((height, width), np.float32)
    kept = before.copy()
    for level in FACTORS[factor].levels:
        after = change(before, factor, level, name="a", seed=seed)
        assert after.shape == before.shape
        assert after.dtype == np.float32
        assert np.isfinite(after).all()
        assert after.min() >= 0
        assert after.max() <= 1
        np.testing.assert_array_equal(after, change(before, factor, level, name="a", seed=seed))
    np.testing.assert_array_equal(before, kept)


def test_a_level_further_on_changes_more() -> None:
    large = picture(height=256, width=224)
    for name, factor in FACTORS.items():
        moved = [float(np.abs(change(large, name, level, name="p") - large).mean()) for level in factor.levels]
        assert moved[0] > 0, name
        assert moved == sorted(moved), name


def test_exposure_window_and_polarity_are_their_formulas() -> None:
    x = picture()
    np.testing.assert_allclose(change(x, "darker", 2.0, name=""), x**2, rtol=1e-6)
    np.testing.assert_allclose(change(x, "brighter", 2.0, name=""), np.sqrt(x), rtol=1e-6)
    np.testing.assert_allclose(change(x, "window", 2.2, name=""), np.clip(2.2 * (x - 0.5) + 0.5, 0, 1), atol=1e-6)
    np.testing.assert_allclose(change(x, "inversion", 1.0, name=""), 1 - x, atol=1e-6)
    barred = np.pad(x, ((0, 0), (5, 5)))
    np.testing.assert_allclose(change(barred, "inversion", 1.0, name=""), np.pad(1 - x, ((0, 0), (5, 5))), atol=1e-6)


def test_noise_has_its_deviation_and_blur_keeps_the_mean_grey() -> None:
    flat = np.full((200, 200), 0.5, np.float32)
    noise = change(flat, "noise", 0.08, name="n") - flat
    assert float(noise.std()) == pytest.approx(0.08, rel=0.02)
    assert abs(float(noise.mean())) < 0.002
    spot = np.zeros((201, 201), np.float32)
    spot[100, 100] = 1
    blurred = change(spot, "blur", 0.01, name="b")
    assert float(blurred.sum()) == pytest.approx(1, abs=1e-3)
    across = blurred.sum(0)
    spread = float((across * (np.arange(201) - 100) ** 2).sum())
    assert np.sqrt(spread) == pytest.approx(2.01, abs=0.02)


def test_a_rotation_turns_about_the_middle_to_either_side() -> None:
    size = 101
    spot = np.zeros((size, size), np.float32)
    spot[19:22, 49:52] = 1  # 30 pixels above the middle
    seen = set()
    for number in range(20):
        turned = change(spot, "rotation", 20.0, name=f"{number}")
        row, column = (np.arange(size) @ turned.sum(axis) / turned.sum() - 50 for axis in (1, 0))
        assert row == pytest.approx(-30 * np.cos(np.radians(20)), abs=0.1)
        assert abs(column) == pytest.approx(30 * np.sin(np.radians(20)), abs=0.1)
        seen.add(bool(column > 0))
    assert seen == {True, False}


def test_a_crop_shows_a_part_of_the_picture_larger() -> None:
    ramp = np.tile(np.linspace(0, 1, 100, dtype=np.float32), (100, 1))
    for number in range(5):
        after = change(ramp, "crop", 0.8, name=f"{number}")
        assert float(after[0, -1] - after[0, 0]) == pytest.approx(79 / 99, abs=1e-4)
        np.testing.assert_allclose(np.diff(after[0]), 79 / 99 / 99, atol=1e-4)


def test_a_device_is_bright_and_covers_little() -> None:
    dark = np.full((256, 256), 0.2, np.float32)
    shares = []
    for level in FACTORS["device"].levels:
        drawn = change(dark, "device", level, name="d") != dark
        values = np.unique(change(dark, "device", level, name="d"))
        assert all(np.isclose(values[:, None], [0.2, 0.95, 0.97]).any(1))
        assert drawn.any(1).sum() > 150  # from the edge well into the picture
        shares.append(drawn.mean())
    assert 0.003 < shares[0] < shares[1] < shares[2] < 0.12


def test_what_is_drawn_depends_on_the_picture_and_the_seed_alone() -> None:
    one = change(picture(), "noise", 0.08, name="a", seed=1)
    assert not np.array_equal(one, change(picture(), "noise", 0.08, name="b", seed=1))
    assert not np.array_equal(one, change(picture(), "noise", 0.08, name="a", seed=2))


def test_unknown_factors_and_no_picture_are_refused() -> None:
    assert chosen_factors([]) == factor_names()
    assert chosen_factors(["blur", "lateral"]) == ("blur", "lateral")
    with pytest.raises(ConfigError, match=r"There is no factor 'blurr': did you mean 'blur'\?"):
        chosen_factors(["blurr"])
    with pytest.raises(DataError, match=r"a picture \(H, W\) of at least 2 x 2 pixels, not \(1, 4, 4\)"):
        change(np.zeros((1, 4, 4), np.float32), "blur", 0.01, name="")


def conditions() -> tuple[Condition, list[Condition]]:
    """150 patients with two pictures each; noise takes half of what the scores know."""
    draw = np.random.default_rng(3)
    patient = np.repeat(np.arange(150), 2)
    truth = {name: (draw.random(300) < 0.3).astype(float) for name in ("a", "b")}

    def cases(know: float) -> pd.DataFrame:
        facts = {"id": [f"i{i}" for i in range(300)], "patient_id": [f"p{p}" for p in patient]}
        rows = {f"label:{n}": t for n, t in truth.items()}
        rows |= {f"score:{n}": know * t + draw.normal(0, 1, 300) for n, t in truth.items()}
        return pd.DataFrame({**facts, **rows})

    flags = np.arange(300) % 10 == 0
    mild, severe = Condition("noise", "0.03", cases(1.6), flags), Condition("noise", "0.2", cases(0.2), ~flags)
    lateral = cases(0.1).iloc[::5].reset_index(drop=True)
    return Condition("", "", cases(1.6), flags & False), [mild, severe, Condition("lateral", "1", lateral, None)]


def test_the_table_is_that_of_paired_comparisons_and_corrects_the_macros_together() -> None:
    clean, changed = conditions()
    found = evaluate_robustness(clean, changed, resamples=200, split="test")
    wanted = compare_results(
        Result(name="x", metrics=(), cases=clean.cases),
        Result(name="y", metrics=(), cases=changed[1].cases),
        resamples=200,
    )
    for label in ("a", "b", "macro"):
        row, own = (found.find("auroc_difference", label, group="noise=0.2"), wanted.find("auroc_difference", label))
        assert (row.value, row.interval.low, row.interval.high, row.test.p) == (
            own.value,
            own.interval.low,
            own.interval.high,
            own.test.p,
        )
        assert row.split == "test"
    groups = ["noise=0.03", "noise=0.2", "lateral=1"]
    macros = [found.find("auroc_difference", "macro", group=group) for group in groups]
    assert [row.test.p_corrected for row in macros] == holm([row.test.p for row in macros])
    assert {row.test.tests for row in macros} == {3}
    assert macros[0].counts.n == 300
    assert macros[2].counts.n == 60
    severe = macros[1]
    assert severe.interval.high is not None
    assert severe.interval.high < 0
    assert found.cases is not None
    assert len(found.cases) == 300 * 3 + 60
    again = evaluate_robustness(clean, changed[:1], resamples=200, split="test")
    assert again.find("auroc_difference", "a", group="noise=0.03") == found.find(
        "auroc_difference", "a", group="noise=0.03"
    )


def only(condition: Condition, *findings: str) -> Condition:
    """The condition with some of its findings."""
    wanted = [name for name in condition.cases if ":" not in name or name.partition(":")[2] in findings]
    return Condition(condition.factor, condition.level, condition.cases[wanted], condition.flagged)


def test_p_values_of_a_single_finding_are_corrected_for_all_conditions() -> None:
    clean, changed = conditions()
    found = evaluate_robustness(only(clean, "a"), [only(each, "a") for each in changed], resamples=50)
    shown = [row.fall for row in robustness_rows([found]) if row.fall is not None]
    assert [row.label for row in shown] == ["a"] * 3
    assert [row.test.p_corrected for row in shown] == holm([row.test.p for row in shown])
    assert {row.test.tests for row in shown} == {3}


def test_one_of_several_findings_is_not_shown_as_their_mean() -> None:
    clean, changed = conditions()
    found = evaluate_robustness(clean, changed, resamples=50, min_positives=10_000)
    assert {row.label for row in found.metrics if row.metric == "auroc_difference"} == {"a", "b"}
    assert all(row.fall is None for row in robustness_rows([found]))


def test_the_share_that_the_gate_flags_stands_beside() -> None:
    clean, changed = conditions()
    found = evaluate_robustness(clean, changed, resamples=100)
    assert found.find("flagged", "gate").value == 0
    assert found.find("flagged", "gate", group="noise=0.03").value == pytest.approx(0.1)
    assert found.find("flagged", "gate", group="noise=0.2").value == pytest.approx(0.9)
    assert found.find("flagged", "gate", group="noise=0.2").interval.method == "wilson_clustered"
    assert not any(row.metric == "flagged" and row.group == "lateral=1" for row in found.metrics)
    rows = robustness_rows([found])
    assert [row.factor for row in rows] == ["as they are", "noise", "noise", "lateral shown as frontal"]
    assert rows[0].fall is None
    assert rows[3].flagged is None
    assert rows[1].level == "0.03 (standard deviation, of the display range)"


def test_conditions_must_be_changes_of_the_clean_pictures() -> None:
    _, changed = conditions()
    with pytest.raises(DataError, match="compares changed pictures with those as they are"):
        evaluate_robustness(changed[0], changed)
