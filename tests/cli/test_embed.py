"""`medvlp embed --out`: a row of features is of something, or is not written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medvlp.core.table import FeatureTable
from medvlp.data.manifest import Manifest
from tests.data.volumes import volume_cohort

if TYPE_CHECKING:
    from medvlp.runs.train import Trained
    from tests.cli.conftest import Ran

    Cli = Callable[..., Ran]


def test_a_model_and_a_manifest_without_a_common_kind_are_refused(cli: Cli, tiny_run: Trained, tmp_path: Path) -> None:
    manifest = volume_cohort(tmp_path / "ct")
    place = tmp_path / "ct" / "m.parquet"
    manifest.save(place)
    told = cli("embed", tiny_run.bundle, place, "--out", tmp_path / "e.parquet", "--workers", "1").refused()
    assert told == (
        "medvlp: The model looks at files of the column image, and the manifest names only volume: embed their slices "
        "(medvlp embed --slices FOLDER), or choose a model of volumes."
    )
    assert not (tmp_path / "e.parquet").exists()
    manifest.with_column("split", ["test"] * len(manifest)).save(place)
    judged = cli(
        "evaluate", "evaluate/phantom.yaml", f"model={tiny_run.bundle}", f"out={tmp_path / 'out'}",
        f"data.root={tmp_path}", f"data.manifest={place}", "data.layout=null", "data.split=own", "data.where={}",
    )  # fmt: skip
    assert "looks at files of the column image, and the manifest names only volume" in judged.refused()


def test_a_manifest_of_neither_pictures_nor_reports_is_refused(cli: Cli, tiny_run: Trained, tmp_path: Path) -> None:
    columns = {"id": ["a"], "vector": [[1.0, 2.0]]}
    Manifest.of(columns, root=tmp_path).save(tmp_path / "m.parquet")
    told = cli("embed", tiny_run.bundle, tmp_path / "m.parquet", "--out", tmp_path / "e.parquet").refused()
    assert "The model looks at image, and the manifest names neither such files nor reports that it reads" in told


def test_records_with_nothing_to_embed_are_left_out_and_named(cli: Cli, tiny_run: Trained, tmp_path: Path) -> None:
    known = tiny_run.manifest
    rows = {
        "id": ["film", "words", "nothing"],
        "image": [str(known.path(0)), None, None],
        "text": [None, "No effusion.", None],
    }
    Manifest.of(rows, root=known.root).save(tmp_path / "m.parquet")
    out = tmp_path / "e.parquet"
    told = cli("embed", tiny_run.bundle, tmp_path / "m.parquet", "--out", out, "--workers", "1")
    assert told.code == 0
    assert "2 rows" in told.out
    assert "nothing that the model looks at or reads, 1: nothing." in told.out
    table = FeatureTable.load(out)
    assert list(table.ids) == ["film", "words"]
    assert np.isfinite(table["image/embedding"]).all(axis=1).tolist() == [True, False]
    assert np.isfinite(table["text/embedding"]).all(axis=1).tolist() == [False, True]


def test_of_many_that_are_left_out_the_first_are_named_and_where_all_are(
    cli: Cli, tiny_run: Trained, tmp_path: Path
) -> None:
    ids = ["words", *(f"nothing {n}" for n in range(7))]
    Manifest.of({"id": ids, "text": ["No effusion."] + [None] * 7}, root=tmp_path).save(tmp_path / "m.parquet")
    told = cli("embed", tiny_run.bundle, tmp_path / "m.parquet", "--out", tmp_path / "e.parquet", "--workers", "1").out
    assert told.endswith(
        "looks at or reads, 7: nothing 0, nothing 1, nothing 2, nothing 3, nothing 4 and 2 more (their ids are in the "
        "table's metadata).\n"
    )
    assert FeatureTable.load(tmp_path / "e.parquet").meta["empty"] == ids[1:]


def test_options_of_slices_go_with_slices_and_engines_with_tables(cli: Cli, tiny_run: Trained, tmp_path: Path) -> None:
    words = ("embed", tiny_run.bundle, tmp_path / "m.parquet")
    table = cli(*words, "--out", tmp_path / "e.parquet", "--window", "ct_lung_v1").refused()
    assert table.startswith("medvlp: --window says in what slices are shown, and none are embedded")
    slices = cli(*words, "--slices", tmp_path / "s", "--window", "ct_lung_v1", "--backend", "openvino").refused()
    assert slices == "medvlp: Slices are embedded by torch: leave --backend openvino out."


def test_a_table_is_written_under_the_ending_of_its_form(cli: Cli, tmp_path: Path) -> None:
    asked = ("embed", tmp_path / "bundle", tmp_path / "m.parquet")
    told = cli(*asked, "--out", tmp_path / "t.csv").refused()
    assert "written as Parquet: give --out a file name that ends in .parquet" in told


def test_a_folder_in_place_of_a_table_is_called_one(cli: Cli, tiny_run: Trained, tmp_path: Path) -> None:
    told = cli("embed", tiny_run.bundle, tmp_path, "--out", tmp_path / "t.parquet").refused()
    assert f"The manifest {tmp_path} is a folder: name a file in it, or make it with `medvlp data index`" in told
    told = cli("score", tmp_path, "--out", tmp_path / "r.json").refused()
    assert f"{tmp_path} is a folder: give a predictions table" in told
