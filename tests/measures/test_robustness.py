"""An evaluation tells what one changed factor does, on frontal pictures, and on the laterals of their studies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor

from medvlp.core.errors import ConfigError
from medvlp.core.sample import Sample
from medvlp.data.manifest import Manifest
from medvlp.data.views.read import Read
from medvlp.features.fit_gate import fit_gate
from medvlp.io import write_png
from medvlp.io.image import Image
from medvlp.measures.robustness import _Work
from medvlp.models.bundle import load_bundle, save_bundle
from medvlp.runs.evaluate import evaluate, load_evaluation
from tests.models.test_gate import chests

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from medvlp.runs.train import Trained


def shown(picture: str | np.ndarray) -> Tensor:
    """As BioViL is shown it: the shorter side at 40 pixels, of which the middle 32 are cut."""
    read = Read(size=32, fit="crop", resize=40)
    pixels = read(Sample("a", {"image": picture}), torch.Generator()).fields["image"]
    assert isinstance(pixels, Tensor)
    return pixels


def work(*clean: Tensor, **more: Any) -> _Work:
    """Conditions that are the pictures to be scored."""
    prepared = SimpleNamespace(sample=lambda at: Sample(f"{at}", {"image": clean[at]}))
    evaluation: Any = SimpleNamespace(
        judged=SimpleNamespace(prepared=prepared, **more.pop("judged", {})),
        model=SimpleNamespace(prepare=lambda picture: SimpleNamespace(pixels=shown(picture))),
        options=SimpleNamespace(seed=0),
        **more,
    )

    def pictures(factor: str, level: str, cases: Sequence[int], samples: Iterable[Sample]) -> dict[int, Any]:
        return dict(zip(cases, (each.fields["image"] for each in samples), strict=True))

    asked: Any = SimpleNamespace(condition=pictures)
    return _Work(evaluation, asked, range(len(clean)))


def test_a_changed_picture_is_the_one_that_the_model_is_shown_and_not_cut_again() -> None:
    clean = shown(np.random.default_rng(0).random((64, 48), np.float32))
    found: Any = work(clean).condition("darker", "2", 2.0)
    torch.testing.assert_close(found[0], clean**2)


def test_a_lateral_picture_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    write_png(Image(np.random.default_rng(1).random((48, 48), np.float32)), tmp_path / "b.png")
    whole = (tmp_path / "b.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    rows = {"id": ["a", "b", "c"], "id.study": ["1", "2", "3"], "image": ["a.png", "b.png", None]}
    judged = Manifest.of(rows, root=tmp_path)
    data = judged.with_column("view_position", ["LATERAL"] * 3)
    made = work(*torch.zeros(3, 1, 32, 32), judged={"manifest": judged}, where={}, others=lambda where: data)
    (found,) = made.lateral()
    assert list(found) == [1]  # pyrefly: ignore
    made = work(torch.zeros(1, 32, 32), judged={"manifest": judged}, where={}, others=lambda where: data)
    assert made.lateral() == []


def words(bundle: Path, cohort: CohortSummary, out: Path, factors: str) -> list[str]:
    told = [f"model={bundle}", f"out={out}", f"data.root={cohort.root}", f"data.cache={out.parent / 'cache'}"]
    told += ["workers=1", "evaluation.resamples=100", "evaluation.gallery=0", "evaluation.min_positives=1"]
    off = "probes: null, grounding: null, sentences: null, prompt_sensitivity: null"
    on = f"robustness: {{cases: 40, min_positives: 1, factors: {factors}}}"
    return [*told, "evaluation.split=train", "data.allow_leaks=true", f"evaluation.measures={{{off}, {on}}}"]


@pytest.mark.slow
def test_robustness_is_a_result_and_on_the_page(tiny_run: Trained, tiny_cohort: CohortSummary, tmp_path: Path) -> None:
    gate = fit_gate(chests(120, seed=0), chests(60, seed=1))
    save_bundle(tmp_path / "bundle", replace(load_bundle(tiny_run.bundle), gate=gate))
    asked = words(tmp_path / "bundle", tiny_cohort, tmp_path / "out", "[darker, inversion, lateral]")
    done = evaluate(load_evaluation("configs/evaluate/phantom.yaml", asked))
    result = done.found["robustness"]
    groups = {row.group for row in result.metrics if row.metric == "auroc_difference"}
    assert {"darker=1.4", "darker=2", "darker=3", "inversion=1"} <= groups
    assert result.cases is not None
    clean = result.cases[result.cases["factor"] == ""]
    zero = done.found["zero_shot"].cases
    assert zero is not None
    # The clean condition scores the same pictures as the zero-shot result.
    both = clean.merge(zero, on="id", suffixes=("", "_own"))
    assert len(both) == len(clean) == min(40, len(zero))
    for name in (column for column in clean.columns if column.startswith("score:")):
        assert both[name].to_numpy() == pytest.approx(both[f"{name}_own"].to_numpy(), abs=1e-5)
    lateral = result.cases[result.cases["factor"] == "lateral"]
    told = [row for row in result.metrics if row.metric == "flagged"]
    assert len(told) == 5 + bool(len(lateral))
    assert set(lateral["id"]) <= set(clean["id"])
    assert "When one thing about the picture changes" in done.page.read_text()


@pytest.mark.slow
def test_an_unknown_factor_is_refused(tiny_run: Trained, tiny_cohort: CohortSummary, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no factor 'darkr': did you mean 'darker'"):
        evaluate(
            load_evaluation(
                "configs/evaluate/phantom.yaml", words(tiny_run.bundle, tiny_cohort, tmp_path / "out", "[darkr]")
            )
        )
