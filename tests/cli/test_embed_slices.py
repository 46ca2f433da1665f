"""`medvlp embed --slices`: stack files and a manifest that names them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel
import numpy as np
from torch.nn.modules.module import register_module_forward_pre_hook

from medvlp.data.manifest import Manifest
from medvlp.data.stack_files import FileStack
from tests.data.volumes import DEPTHS, volume_cohort

if TYPE_CHECKING:
    from medvlp.runs.train import Trained
    from tests.cli.conftest import Ran

    Cli = Callable[..., Ran]


def test_slices_of_volumes_become_stack_files_in_the_windows_asked_for(
    cli: Cli, tiny_run: Trained, tmp_path: Path
) -> None:
    volume_cohort(tmp_path / "ct").save(tmp_path / "ct" / "m.parquet")
    out = tmp_path / "slices"
    command = ("embed", tiny_run.bundle, tmp_path / "ct" / "m.parquet", "--slices", out, "--window", "ct_lung_v1")
    told = cli(*command, "--workers", "1")
    assert told.code == 0
    assert told.out == f"{out}: 6 stack files, 6 of them new, and manifest.parquet.\n"
    manifest = Manifest.load(out / "manifest.parquet")
    assert [len(FileStack(manifest.path(row, "stack") or Path())) for row in range(6)] == list(DEPTHS)
    assert "0 of them new" in cli(*command, "--workers", "1").out


def test_why_a_volume_was_left_out_is_told_as_no_index_says_it(cli: Cli, tiny_run: Trained, tmp_path: Path) -> None:
    """An index is made of series with gaps and of every modality; `read_volume` and its windows refuse some."""
    manifest = volume_cohort(tmp_path / "ct")
    nibabel.Nifti1Image(np.zeros((4, 4, 3, 2), np.int16), np.eye(4)).to_filename(tmp_path / "ct" / "v0.nii")
    manifest.save(tmp_path / "ct" / "m.parquet")
    command = ("embed", tiny_run.bundle, tmp_path / "ct" / "m.parquet", "--slices", tmp_path / "slices")
    told = cli(*command, "--window", "ct_lung_v1", "--workers", "1").out
    assert told.endswith("Left out, because they cannot be read, 1: s0 (several_volumes).\n")


def test_a_worker_that_is_killed_is_one_sentence_and_what_was_made_stays(
    cli: Cli, tiny_run: Trained, tmp_path: Path
) -> None:
    volume_cohort(tmp_path / "ct").save(tmp_path / "ct" / "m.parquet")
    out, others = tmp_path / "slices", set(multiprocessing.active_children())
    command = ("embed", tiny_run.bundle, tmp_path / "ct" / "m.parquet", "--slices", out, "--window", "ct_lung_v1")

    def killed(*given: object) -> None:
        for worker in set(multiprocessing.active_children()) - others:
            worker.kill()

    hook = register_module_forward_pre_hook(killed)
    told = cli(*command, "--workers", "1").refused()
    hook.remove()
    assert told.startswith("medvlp: A worker process ended or cannot begin (DataLoader worker (pid")
    assert told.endswith("(ulimit -u): start again with fewer workers; what was finished is kept.")
    made = len(list(out.glob("*.safetensors")))
    assert f"6 stack files, {6 - made} of them new" in cli(*command, "--workers", "1").out


def test_where_features_go_must_be_said_once(cli: Cli, tiny_run: Trained, tmp_path: Path) -> None:
    command = ("embed", tiny_run.bundle, tiny_run.run / "manifest.parquet")
    for more in ((), ("--out", tmp_path / "a.parquet", "--slices", tmp_path / "b")):
        told = cli(*command, *more).refused()
        assert "--out FILE for a table of records" in told
        assert "--slices FOLDER for slices" in told
    assert "say in which windows it shall see slices" in cli(*command, "--slices", tmp_path / "b").refused()
