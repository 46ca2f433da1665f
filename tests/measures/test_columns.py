"""Sides, sizes and places are columns: whoever fills them, laterality, size groups and maps are measured on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import yaml

from medvlp.core.errors import DataError
from medvlp.data.layouts.phantom import index
from medvlp.data.manifest import Manifest
from medvlp.evaluation.evaluation import Evaluation
from medvlp.measures.classification import group_columns
from medvlp.measures.laterality import Laterality
from medvlp.runs.evaluate import load_evaluation, open_evaluation

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from medvlp.runs.train import Trained


def opened(folder: Path, run: Trained, manifest: Path, root: Path) -> Evaluation:
    tree = {
        "model": str(run.bundle),
        "out": str(folder / "out"),
        "workers": 1,
        "data": {
            "root": str(root),
            "manifest": str(manifest),
            "where": {"view_position": ["PA", "AP"]},
            "allow_leaks": True,
        },
        "evaluation": {"resamples": 100, "min_positives": 1, "split": "train", "groups": ["site"]},
    }
    (folder / "e.yaml").write_text(yaml.safe_dump(tree))
    return open_evaluation(load_evaluation(folder / "e.yaml"))


@pytest.fixture(scope="module")
def evaluation(tiny_run: Trained, tiny_cohort: CohortSummary, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    folder = tmp_path_factory.mktemp("columns")
    index(tiny_cohort.root).save(folder / "m.parquet")
    return opened(folder, tiny_run, folder / "m.parquet", tiny_cohort.root)


def test_laterality_is_the_margin_of_sided_prompts_on_unilateral_findings(evaluation: Evaluation) -> None:
    (result,) = Laterality().run(evaluation)
    manifest, model = evaluation.judged.manifest, evaluation.model
    images = evaluation.judged.table["image/embedding"]
    rows = []
    for each in evaluation.prompts:
        if each.sided and f"side.{each.label}" in manifest:
            left, right = (model.embed_text(each.on(side)).mean(axis=0) for side in ("left", "right"))
            margin = images @ (left / np.linalg.norm(left) - right / np.linalg.norm(right))
            sides = manifest.column(f"side.{each.label}")
            ids = manifest.column("id")
            rows += [(f"{ids[i]}/{each.label}", margin[i], sides[i] == "left") for i in range(len(ids)) if sides[i]]
    wanted = pd.DataFrame(rows, columns=["id", "margin", "left"]).set_index("id")
    both = {f"{record}/{label}" for label, record in _both(evaluation)}
    assert result.cases is not None
    got = result.cases.set_index("id")
    assert set(got.index) == set(wanted.index) - both
    wanted = wanted.loc[got.index]
    np.testing.assert_allclose(got["score:left_of_right"], wanted["margin"], atol=1e-6)
    assert (got["label:left_of_right"] == wanted["left"]).all()
    assert got["label:left_of_right"].nunique() == 2


def _both(evaluation: Evaluation) -> list[tuple[str, str]]:
    manifest = evaluation.judged.manifest
    names = [name for name in manifest.names if name.startswith("side.")]
    ids = manifest.column("id")
    return [
        (name.removeprefix("side."), ids[i])
        for name in names
        for i, side in enumerate(manifest.column(name))
        if side == "both"
    ]


def test_sizes_are_terciles_of_the_positives_of_a_finding(evaluation: Evaluation) -> None:
    groups = group_columns(evaluation)
    assert "group:site" in groups
    sized = [name for name in groups if name.startswith("group:size@")]
    assert sized
    manifest = evaluation.judged.manifest
    for name in sized:
        label = name.removeprefix("group:size@")
        sizes = np.asarray(manifest.column(f"size.{label}"), dtype=float)
        positive = np.asarray(manifest.column(f"label.{label}"), dtype=float) == 1
        table = pd.DataFrame({"group": groups[name], "size": sizes})[positive & (sizes > 0)]
        spans = table.groupby("group")["size"].agg(["min", "max"]).sort_values("min")
        assert len(spans) == 3
        assert (spans["max"].to_numpy()[:-1] <= spans["min"].to_numpy()[1:]).all()


def test_data_without_such_columns_has_neither(tiny_run: Trained, tiny_cohort: CohortSummary, tmp_path: Path) -> None:
    plain = index(tiny_cohort.root)
    kept = Manifest.of(
        {name: plain.arrow(name).to_pylist() for name in plain.names if name.partition(".")[0] not in ("side", "size")},
        root=plain.root,
    )
    kept.save(tmp_path / "m.parquet")
    found = opened(tmp_path, tiny_run, tmp_path / "m.parquet", tiny_cohort.root)
    assert list(Laterality().run(found)) == []
    assert set(group_columns(found)) == {"group:site"}


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"side.effusion": ["links"]}, "side.effusion is 'links': write left, right, both or leave it blank"),
        ({"sides.effusion": ["left"]}, "the column 'sides.effusion' is of no known kind: did you mean 'side'"),
    ],
)
def test_a_side_is_one_of_three_words(columns: Mapping[str, Sequence[Any]], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        Manifest.of({"id": ["a"], "text": [""], **columns}, root=Path())
