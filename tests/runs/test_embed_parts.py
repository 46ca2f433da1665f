"""A table that was made in parts, by one process, by several or by Ray, is the one that is made in one go."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from medvlp.core import collectives
from medvlp.core.errors import DataError, UserError
from medvlp.core.table import FeatureTable
from medvlp.data.cache import cache_info
from medvlp.data.manifest import Manifest
from medvlp.data.shards import shard_manifest
from medvlp.models.bundle import load_bundle, save_bundle
from medvlp.runs import embed_parts
from medvlp.runs.embed import embed_manifest
from medvlp.runs.embed_parts import embed_in_parts
from medvlp.runs.train import Trained


@pytest.fixture(scope="module")
def manifest(tiny_run: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny hospital with a record that cannot be read, and a whole part of such records."""
    folder = tmp_path_factory.mktemp("manifest")
    table = tiny_run.manifest
    paths = [str(table.value("image", i)) for i in range(len(table))]
    paths[1] = paths[4] = paths[5] = paths[6] = paths[7] = "nowhere.dcm"
    texts = ["" if i in (4, 5, 6, 7) else str(table.value("text", i)) for i in range(len(table))]
    Manifest.of({"id": [f"r{i}" for i in range(len(table))], "image": paths, "text": texts}, root=table.root).save(
        folder / "m.parquet"
    )
    return folder / "m.parquet"


@pytest.fixture(scope="module")
def whole(tiny_run: Trained, manifest: Path) -> FeatureTable:
    return embed_manifest(tiny_run.bundle, manifest, root=None, workers=0)


def same(found: FeatureTable | None, whole: FeatureTable) -> None:
    assert found is not None
    assert list(found.ids) == list(whole.ids)
    assert set(found.columns) == set(whole.columns)
    for name in whole.columns:
        np.testing.assert_allclose(found[name], whole[name], atol=1e-6)
    assert dict(found.meta) == dict(whole.meta)


def test_a_manifest_of_which_nothing_can_be_read_is_refused_with_the_reason(tiny_run: Trained, tmp_path: Path) -> None:
    nib.Nifti1Image(np.zeros((4, 4, 3), np.int16), np.eye(4)).to_filename(tmp_path / "ct.nii.gz")
    Manifest.of({"id": ["a", "b"], "image": ["ct.nii.gz"] * 2}, root=tmp_path).save(tmp_path / "m.parquet")
    why = "the first is 'a': it is a NIfTI volume; give it to a model of volumes .of a manifest as the column volume."
    with pytest.raises(DataError, match=why):
        embed_manifest(tiny_run.bundle, tmp_path / "m.parquet", root=None, workers=0)
    with pytest.raises(DataError, match=why):
        embed_in_parts(tiny_run.bundle, tmp_path / "m.parquet", tmp_path / "e.parquet", root=None, workers=0, size=1)


def test_parts_make_the_same_table_and_what_is_left_out_of_each_is_told(
    tiny_run: Trained, manifest: Path, whole: FeatureTable, tmp_path: Path
) -> None:
    found = embed_in_parts(tiny_run.bundle, manifest, tmp_path / "t.parquet", size=4, root=None, workers=0)
    same(found, whole)
    same(FeatureTable.load(tmp_path / "t.parquet"), whole)
    assert whole.meta["left_out"] == ["r1", "r4", "r5", "r6", "r7"]
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def test_an_archive_larger_than_the_cache_is_embedded_in_parts(
    tiny_run: Trained, manifest: Path, whole: FeatureTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDVLP_CACHE", str(tmp_path / "measured"))
    embed_manifest(tiny_run.bundle, manifest, root=None, workers=0)
    monkeypatch.setenv("MEDVLP_CACHE_GIB", str(cache_info().bytes / 2**30 / 2))
    monkeypatch.setenv("MEDVLP_CACHE", str(tmp_path / "small"))
    with pytest.raises(DataError, match="MEDVLP_CACHE_GIB"):
        embed_manifest(tiny_run.bundle, manifest, root=None, workers=0)
    same(embed_in_parts(tiny_run.bundle, manifest, tmp_path / "t.parquet", size=4, root=None, workers=0), whole)


def test_parts_of_shards_behind_an_address_are_read_from_there(
    tiny_run: Trained, manifest: Path, tmp_path: Path
) -> None:
    fsspec = pytest.importorskip("fsspec", reason="reads URLs")
    done = shard_manifest(Manifest.load(manifest).take([0, 2, 3]), tmp_path / "shards")
    fsspec.filesystem("memory").put(str(tmp_path / "shards"), "/bucket/parts", recursive=True)
    far = Path("memory://bucket/parts")
    found = embed_in_parts(tiny_run.bundle, done.manifest, tmp_path / "t.parquet", size=2, root=far, workers=0)
    same(found, embed_manifest(tiny_run.bundle, done.manifest, root=far, workers=0))
    assert len(found or ()) == 3


def test_parts_that_are_there_are_not_made_again_and_are_of_the_same_work(
    tiny_run: Trained, manifest: Path, whole: FeatureTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "t.parquet"
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert embed_in_parts(tiny_run.bundle, manifest, out, size=8, root=None, workers=0) is None
    made = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "t.parquet.parts").glob("*.parquet")}
    assert sorted(made) == [f"{at:09d}.parquet" for at in range(8, len(Manifest.load(manifest)), 16)]
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError, match="holds parts of another model, manifest or size: remove it"):
        embed_in_parts(tiny_run.bundle, manifest, out, size=4, root=None, workers=0)
    with monkeypatch.context() as patched:
        patched.setattr(embed_parts, "code_hash", lambda *folders: "of other code")
        with pytest.raises(UserError, match="holds parts that another version of medvlp made: remove it"):
            embed_in_parts(tiny_run.bundle, manifest, out, size=8, root=None, workers=0)
    kept = {name: (tmp_path / "t.parquet.parts" / name).stat().st_mtime_ns for name in made}
    assert kept == made
    same(embed_in_parts(tiny_run.bundle, manifest, out, size=8, root=None, workers=0), whole)


def test_parts_of_one_model_are_not_joined_to_those_of_another(
    tiny_run: Trained, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of converted bundles, none of which names a recipe."""
    for name, change in (("a", 0.0), ("b", 1e-3)):
        bundle = load_bundle(tiny_run.bundle)
        with torch.no_grad():
            next(bundle.model.parameters()).view(-1)[0] += change
        save_bundle(tmp_path / name, replace(bundle, provenance={"importer": "timm"}))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    out = tmp_path / "t.parquet"
    assert embed_in_parts(tmp_path / "a", manifest, out, size=8, root=None, workers=0) is None
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError, match="holds parts of another model, manifest or size: remove it"):
        embed_in_parts(tmp_path / "b", manifest, out, size=8, root=None, workers=0)


def test_parts_whose_files_changed_are_made_again(
    tiny_run: Trained, manifest: Path, whole: FeatureTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Manifest.load(manifest)
    for row in (0, 2, 3):
        path = table.path(row)
        assert path is not None
        other = tmp_path / "elsewhere" / path.relative_to(table.root)
        other.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(table.paths(8, "image")[0], other)
    out = tmp_path / "t.parquet"
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert embed_in_parts(tiny_run.bundle, manifest, out, size=8, root=None, workers=0) is None
    monkeypatch.setattr(FeatureTable, "join", _killed)
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name)
    with pytest.raises(KeyboardInterrupt):
        embed_in_parts(tiny_run.bundle, manifest, out, size=8, root=tmp_path / "elsewhere", workers=0)
    monkeypatch.undo()
    same(embed_in_parts(tiny_run.bundle, manifest, out, size=8, root=None, workers=0), whole)


def test_parts_of_a_run_killed_while_it_removed_them_are_not_taken_for_those_of_another_model(
    tiny_run: Trained, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(tiny_run.bundle)
    with torch.no_grad():
        for each in bundle.model.parameters():
            each.mul_(0.5)
    save_bundle(tmp_path / "b", replace(bundle, provenance={"importer": "timm"}))
    out = tmp_path / "t.parquet"

    def killed(folder: Path, **options: bool) -> None:
        if folder.exists():
            (folder / "parts.json").unlink()
            raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        embed_in_parts(tiny_run.bundle, manifest, out, size=8, root=None, workers=0)
    monkeypatch.undo()
    whole = embed_manifest(tmp_path / "b", manifest, root=None, workers=0)
    same(embed_in_parts(tmp_path / "b", manifest, out, size=8, root=None, workers=0), whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "t.parquet"]


def test_a_second_command_on_the_same_parts_is_refused_and_parts_without_their_note_are_no_others(
    tiny_run: Trained, manifest: Path, whole: FeatureTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "t.parquet"

    def embed() -> FeatureTable | None:
        return embed_in_parts(tiny_run.bundle, manifest, out, size=8, root=None, workers=0)

    def second() -> None:
        with pytest.raises(UserError, match=r"Another command is at work in .*t.parquet.parts: wait for it, or name"):
            embed()

    with monkeypatch.context() as patched:
        patched.setattr(collectives, "barrier", second)
        same(embed(), whole)
    bundle = load_bundle(tiny_run.bundle)
    with torch.no_grad():
        for each in bundle.model.parameters():
            each.mul_(0.5)
    save_bundle(tmp_path / "b", replace(bundle, provenance={"importer": "timm"}))
    with monkeypatch.context() as patched:
        patched.setenv("WORLD_SIZE", "2")
        patched.setenv("RANK", "1")
        assert embed_in_parts(tmp_path / "b", manifest, out, size=8, root=None, workers=0) is None
    (tmp_path / "t.parquet.parts" / "parts.json").unlink()  # it went with the folder of another command
    same(embed(), whole)


def test_a_process_that_comes_late_makes_nothing_again(
    tiny_run: Trained, manifest: Path, whole: FeatureTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All parts are there; the first process may join and remove them once the other one has seen that."""
    out, came = tmp_path / "t.parquet", []

    def embed(rank: int) -> FeatureTable | None:
        monkeypatch.setenv("RANK", str(rank))
        return embed_in_parts(tiny_run.bundle, manifest, out, size=8, root=None, workers=0)

    def late() -> None:
        came.append("the other process")
        monkeypatch.setattr(collectives, "barrier", lambda: None)
        assert embed(1) is None
        monkeypatch.setenv("RANK", "0")

    monkeypatch.setenv("WORLD_SIZE", "2")
    assert embed(1) is None
    monkeypatch.setattr(collectives, "barrier", late)
    same(embed(0), whole)
    if not came:
        late()
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def _killed(*given: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_ray_makes_the_same_table_though_a_worker_is_killed(
    tiny_run: Trained, manifest: Path, whole: FeatureTable, tmp_path: Path
) -> None:
    pytest.importorskip("ray.data", reason="Ray is in the extra `scale`")
    out = tmp_path / "t.parquet"
    words = ["embed", str(tiny_run.bundle), str(manifest), "--out", str(out), "--parts", "1", "--ray", "--workers", "1"]
    running = subprocess.Popen([sys.executable, "-m", "medvlp", *words], stderr=subprocess.PIPE, text=True)
    killed = 0
    while running.poll() is None:
        if not killed and list(tmp_path.glob("t.parquet.parts/*.parquet")):
            for worker in _workers(running.pid):
                os.kill(worker, signal.SIGKILL)
                killed += 1
        time.sleep(0.005)
    assert running.returncode == 0, running.stderr.read() if running.stderr else ""
    assert killed
    same(FeatureTable.load(out), whole)


def _workers(parent: int) -> list[int]:
    """Processes of Ray that embed, among the descendants of a process."""
    above, commands = dict[int, int](), dict[int, bytes]()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            above[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            commands[int(folder.name)] = (folder / "cmdline").read_bytes()
        except OSError:
            continue
    below = {parent}
    while grown := {pid for pid, over in above.items() if over in below} - below:  # numbers may begin anew: no order
        below |= grown
    found = [
        pid for pid in below & commands.keys() if commands[pid].startswith(b"ray::") and b"Worker" in commands[pid]
    ]
    return found
