"""Stacks in the cache: bit for bit what the views make, whatever their depth; a step reads the slices it takes."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.sample import Batch, Sample, Stack
from medvlp.data import loader as loader_module
from medvlp.data.cache import Cache, cache_info, clear_cache
from medvlp.data.collate import collate
from medvlp.data.loader import Loader, in_order
from medvlp.data.manifest import Manifest
from medvlp.data.pipeline import apply_views
from medvlp.data.pool import Pool
from medvlp.data.prepare import Prepared, pool_name, prepare
from medvlp.data.stack_files import write_stack_file
from medvlp.data.stacks import LazyStack, StoredStack, middle_of
from medvlp.data.views.read_stack_file import ReadStackFile
from medvlp.data.views.read_volume import ReadVolume
from medvlp.data.views.sample_slices import SampleSlices
from medvlp.data.views.sections import Sections
from tests.data.volumes import DEPTHS, volume_cohort
from tests.io.conftest import dicom_writer
from tests.io.ct_series import write_series

PREFIX = [ReadVolume(size=16, windows=("ct_lung_v1", "ct_bone_v1")), Sections()]


def lazy(prepared: Prepared, index: int) -> LazyStack:
    stack = prepared.sample(index).fields["stack"]
    assert isinstance(stack, LazyStack)
    return stack


def fresh(prepared: Prepared, index: int, views: list = PREFIX) -> Stack:
    stack = apply_views(prepared.records.sample(index), views).fields["stack"]
    assert isinstance(stack, LazyStack)
    return stack.take()


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_slices_from_the_cache_are_those_read_fresh_bit_for_bit(tmp_path: Path, cache: Cache, bits: int) -> None:
    views = [ReadVolume(size=16, windows=("ct_lung_v1", "ct_bone_v1"), bits=bits), Sections()]  # type: ignore[arg-type]
    prepared = prepare(volume_cohort(tmp_path / "ct"), views, cache=cache)
    for index, depth in enumerate(DEPTHS):
        want, stored = fresh(prepared, index, views), lazy(prepared, index)
        assert isinstance(stored, StoredStack)
        assert len(stored) == depth
        assert torch.equal(stored.take().pixels, want.pixels)
        assert torch.equal(stored.position, want.position)
        some = list(range(0, depth, 2))[::-1]
        assert torch.equal(stored.take(some).pixels, want.pixels[some])
        sample = prepared.sample(index)
        assert sample.fields["text"] == f"Fact {index}."
        assert "volume" not in sample.fields
        assert sample.records == apply_views(prepared.records.sample(index), views).records


def test_a_stack_beyond_2_gib_is_read_in_calls_that_macos_takes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Above INT_MAX bytes a call is EINVAL (read(2) of macOS)."""
    into, read = np.empty(2**31 + 5, np.uint8), []

    def preadv(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        size = sum(len(buffer) for buffer in buffers)
        if size > 2**31 - 1:
            raise OSError(22, "Invalid argument")
        read.append((offset, size))
        return size

    (tmp_path / "one").write_bytes(bytes(12 + 4))
    stored = StoredStack(tmp_path / "one", 1, (1, 1, 1), 32)
    monkeypatch.setattr(os, "preadv", preadv)
    stored._read(0, 12, into)
    assert [offset for offset, _ in read] == [12 + sum(size for _, size in read[:i]) for i in range(len(read))]
    assert sum(size for _, size in read) == len(into)


def test_of_a_film_and_its_prior_the_film_is_shown_and_of_more_the_middle() -> None:
    assert [middle_of(count) for count in (1, 2, 3, 4, 5)] == [0, 0, 1, 2, 2]


def test_workers_make_the_same_files(tmp_path: Path) -> None:
    manifest = volume_cohort(tmp_path / "ct")
    alone = prepare(manifest, PREFIX, cache=Cache(tmp_path / "c0"), workers=0)
    shared = prepare(manifest, PREFIX, cache=Cache(tmp_path / "c2"), workers=2)
    for index in range(len(DEPTHS)):
        assert torch.equal(lazy(alone, index).take().pixels, lazy(shared, index).take().pixels)


def test_a_step_reads_the_slices_it_takes_and_no_others(tmp_path: Path, cache: Cache) -> None:
    prepared = prepare(volume_cohort(tmp_path / "ct"), PREFIX, cache=cache)
    want = lazy(prepared, 3).take([2, 3, 9]).pixels
    (file,) = [path for path in cache.folder.rglob("stack/*.bin") if path.name == "00000003.bin"]
    size = 2 * 16 * 16
    data = bytearray(file.read_bytes())
    for number in set(range(DEPTHS[3])) - {2, 3, 9}:
        data[12 * DEPTHS[3] + number * size : 12 * DEPTHS[3] + (number + 1) * size] = b"\xff" * size
    file.write_bytes(data)
    assert torch.equal(lazy(prepared, 3).take([2, 3, 9]).pixels, want)


def test_only_what_is_missing_is_made_and_a_moved_archive_is_known(tmp_path: Path, cache: Cache) -> None:
    manifest = volume_cohort(tmp_path / "ct")
    prepare(manifest.take([0, 1]), PREFIX, cache=cache)
    before = {path: path.stat().st_mtime_ns for path in cache.folder.rglob("stack/*.bin")}
    shutil.move(str(manifest.root), str(tmp_path / "moved"))
    prepared = prepare(Manifest(manifest.table, root=tmp_path / "moved"), PREFIX, cache=cache)
    after = {path: path.stat().st_mtime_ns for path in cache.folder.rglob("stack/*.bin")}
    assert len(after) == len(DEPTHS)
    assert before.items() <= after.items()
    assert torch.equal(lazy(prepared, 5).take().pixels, fresh(prepared, 5).pixels)


def test_what_another_process_stores_while_a_pool_is_opened_is_not_taken_for_lost(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = volume_cohort(tmp_path / "ct")
    prepare(manifest.take([0]), PREFIX, cache=cache)
    listed = os.scandir

    def filled_meanwhile(path: Path) -> list[os.DirEntry[str]]:
        found = list(listed(path))
        monkeypatch.undo()
        prepare(manifest, PREFIX, cache=cache)
        return found

    monkeypatch.setattr(os, "scandir", filled_meanwhile)
    Pool(cache.pools / pool_name(PREFIX), PREFIX)
    assert [pool.records for pool in cache_info(cache).pools] == [len(DEPTHS)]


@pytest.mark.parametrize("spoil", ["cut", "gone"])
def test_slices_that_somebody_lost_are_made_again(tmp_path: Path, cache: Cache, spoil: str) -> None:
    manifest = volume_cohort(tmp_path / "ct")
    prepared = prepare(manifest, PREFIX, cache=cache)
    want = lazy(prepared, 1).take().pixels
    (file,) = cache.folder.rglob("stack/00000001.bin")
    os.truncate(file, 400) if spoil == "cut" else file.unlink()
    with pytest.raises(DataError, match="lost slices while it was in use: start again, they will be made again"):
        lazy(prepared, 1).take()
    again = prepare(manifest, PREFIX, cache=cache)
    assert torch.equal(lazy(again, 1).take().pixels, want)
    assert torch.equal(lazy(again, 4).take().pixels, fresh(again, 4).pixels)


# It ends itself, from a thread of its own, in the middle of the second piece of work: four files are one.
KILLED = """
import os, signal, sys, threading, time
from pathlib import Path
from medvlp.data.cache import Cache
from medvlp.data.manifest import Manifest
from medvlp.data.prepare import prepare
from medvlp.data.views.read_volume import ReadVolume
from medvlp.data.views.sections import Sections

manifest, folder, cache, written = map(Path, sys.argv[1:])

def end():
    while not written.is_dir() or len(list(written.iterdir())) < 7:
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)

threading.Thread(target=end, daemon=True).start()
views = [ReadVolume(size=16, windows=("ct_lung_v1", "ct_bone_v1")), Sections()]
prepare(Manifest.load(manifest, root=folder), views, cache=Cache(cache))
"""


@pytest.mark.slow
def test_a_filling_killed_at_any_moment_is_resumed(tmp_path: Path) -> None:
    """SIGKILL while slices are written; what was indexed is whole, the rest is made again."""
    folder = tmp_path / "ct"
    manifest = volume_cohort(folder, depths=(8,) * 24)
    manifest.save(tmp_path / "m.parquet")
    cache = Cache(tmp_path / "cache")
    written = cache.pools / pool_name(PREFIX) / "stack"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path / "m.parquet", folder, cache.folder, written], check=False, timeout=600
    )
    assert done.returncode == -signal.SIGKILL
    pool = Pool(cache.pools / pool_name(PREFIX), PREFIX)
    kept = pool._database.execute("SELECT COUNT(*) FROM rows").fetchone()[0]
    pool.finish()
    del pool
    assert 4 <= kept < 24
    seen: list[int] = []
    prepared = prepare(manifest, PREFIX, cache=cache, progress=lambda done, total: seen.append(done))
    assert seen[0] == kept + 4
    for index in range(24):
        assert torch.equal(lazy(prepared, index).take().pixels, fresh(prepared, index).pixels)


def test_an_unreadable_volume_is_left_out_even_if_its_fault_shows_late(tmp_path: Path, cache: Cache) -> None:
    """Of a plain file only the header is read when it is opened: its end is noticed while slices are written."""
    manifest = volume_cohort(tmp_path / "ct", depths=(3,) * 12)
    (manifest.root / "v2.nii").write_bytes(b"")
    os.truncate(manifest.root / "v4.nii", 600)
    prepared = prepare(manifest, PREFIX, cache=cache, cap=0.2)
    assert [(entry.id, entry.reason) for entry in prepared.quarantined] == [("s2", "empty"), ("s4", "truncated")]
    assert prepared.sample(2).id == "s3"
    assert torch.equal(lazy(prepared, 2).take().pixels, fresh(prepared, 2).pixels)


def test_the_cache_of_stacks_is_private_and_counted(tmp_path: Path, cache: Cache) -> None:
    prepared = prepare(volume_cohort(tmp_path / "ct"), PREFIX, cache=cache)
    for path in [cache.folder, *cache.folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    (pool,) = cache_info(cache).pools
    assert pool.records == len(DEPTHS)
    assert pool.bytes >= sum(DEPTHS) * 2 * 16 * 16
    del prepared
    clear_cache(cache)
    assert cache_info(cache).pools == ()


def test_volumes_that_outgrow_the_cap_stop_the_filling(tmp_path: Path) -> None:
    """The first volume is shallow, so that it looks as if all would fit."""
    manifest = volume_cohort(tmp_path / "ct", depths=(1, 1, 1, 1, 400, 400, 400, 400, 400))
    views = [ReadVolume(size=64)]
    with pytest.raises(DataError, match="set MEDVLP_CACHE_GIB to more, or choose a smaller image size"):
        prepare(manifest, views, cache=Cache(tmp_path / "cache", cap=8 << 20))


def test_numbers_that_a_view_reads_are_part_of_the_key(tmp_path: Path, cache: Cache) -> None:
    voxels = np.random.default_rng(2).choice([-950, -800, 30, 60], (10, 12, 6)).astype(np.int16)
    nibabel.Nifti1Image(voxels, np.diag([-1.0, -1.0, 1.0, 1.0])).to_filename(tmp_path / "a.nii.gz")
    manifest = Manifest.of({"id": ["a"], "volume": ["a.nii.gz"]}, root=tmp_path)
    views = [ReadVolume(size=16, side_car="ct_rate", windows=("ct_lung_v1",))]
    numbers = {"rescale_slope": 1.0, "rescale_intercept": -1024.0, "spacing_z": 3.0, "spacing_y": 0.8, "spacing_x": 0.8}
    for name, value in numbers.items():
        manifest = manifest.with_column(f"number.{name}", [value])
    first = prepare(manifest, views, cache=cache)
    other = prepare(manifest.with_column("number.spacing_z", [5.0]), views, cache=cache)
    steps = [lazy(p, 0).position[1, 2] - lazy(p, 0).position[0, 2] for p in (first, other)]
    assert steps == [3.0, 5.0]


def test_a_folder_of_slices_is_known_by_its_files(tmp_path: Path, cache: Cache) -> None:
    root = tmp_path / "archive"
    root.mkdir()
    write_series(dicom_writer(tmp_path), root / "a")
    shutil.copytree(root / "a", root / "b")
    manifest = Manifest.of({"id": ["a", "b"], "volume": ["a", "b"]}, root=root)
    prepared = prepare(manifest, [ReadVolume(size=16)], cache=cache)
    assert torch.equal(lazy(prepared, 0).take().pixels, fresh(prepared, 0, [ReadVolume(size=16)]).pixels)
    (pool,) = cache_info(cache).pools
    assert pool.records == 1, "equal folders are one record"
    for path in (root / "b").iterdir():
        os.utime(path, ns=(1, 1))
    assert prepare(manifest, [ReadVolume(size=16)], cache=cache).quarantined == ()
    write_series(dicom_writer(tmp_path), root / "b", only=(0,), pixels=lambda k, values: values + 1)
    assert len(prepare(manifest, [ReadVolume(size=16)], cache=cache)) == 2
    (pool,) = cache_info(cache).pools
    assert pool.records == 2, "a folder one of whose slices changed is another"


# batches --------------------------------------------------------------------------------------------------------------


def equal(one: Batch, other: Batch) -> bool:
    a, b = one["stack"], other["stack"]
    assert isinstance(a.values, torch.Tensor)
    assert isinstance(b.values, torch.Tensor)
    assert a.position is not None
    assert b.position is not None
    return one.ids == other.ids and torch.equal(a.values, b.values) and torch.equal(a.position, b.position)


def test_workers_make_the_same_batches_of_drawn_slices(tmp_path: Path, cache: Cache) -> None:
    prepared = prepare(volume_cohort(tmp_path / "ct"), PREFIX, cache=cache)
    suffix = [SampleSlices(count=4, how="jittered")]
    streams = [iter(Loader(prepared, suffix, batch=4, seed=3, workers=workers)) for workers in (0, 2)]
    batches = [[next(stream) for _ in range(4)] for stream in streams]
    assert all(equal(one, other) for one, other in zip(*batches, strict=True))
    column = batches[0][0]["stack"]
    assert column.mask is not None
    assert column.mask.shape[1] <= 4
    assert not all(equal(batches[0][0], other) for other in batches[0][1:])


def test_one_pass_in_order_takes_whole_stacks_padded_with_a_mask(tmp_path: Path, cache: Cache) -> None:
    prepared = prepare(volume_cohort(tmp_path / "ct"), PREFIX, cache=cache)
    (batch,) = in_order(prepared)
    column = batch["stack"]
    assert isinstance(column.values, torch.Tensor)
    assert column.mask is not None
    assert column.position is not None
    assert column.mask.sum(1).tolist() == list(DEPTHS)
    for index in range(len(DEPTHS)):
        want = fresh(prepared, index)
        assert torch.equal(column.values[index][column.mask[index]], want.pixels)
        assert torch.equal(column.position[index][column.mask[index]], want.position)
    assert float(column.values[~column.mask].abs().max()) == 0


def test_whole_stacks_make_shorter_batches(tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = prepare(volume_cohort(tmp_path / "ct"), PREFIX, cache=cache)
    slice_bytes = 4 * 2 * 16 * 16
    monkeypatch.setattr(loader_module, "_MOST_BYTES", 18 * slice_bytes)
    batches = list(in_order(prepared))
    assert [batch.size for batch in batches] == [2, 1, 1, 2]
    assert [i for batch in batches for i in batch.ids] == [f"s{i}" for i in range(6)]


def test_an_even_choice_in_the_prefix_is_what_the_cache_holds(tmp_path: Path, cache: Cache) -> None:
    views = [ReadVolume(size=16), SampleSlices(count=4)]
    prepared = prepare(volume_cohort(tmp_path / "ct"), views, cache=cache)
    assert [len(lazy(prepared, i)) for i in range(6)] == [min(4, depth) for depth in DEPTHS]
    want = apply_views(prepared.records.sample(3), views).fields["stack"]
    assert isinstance(want, Stack)
    assert torch.equal(lazy(prepared, 3).take().pixels, want.pixels)


def test_a_path_that_nobody_read_is_refused_naming_the_view() -> None:
    for field, view in (("volume", "read_volume"), ("stack", "read_stack"), ("image", "read")):
        with pytest.raises(DataError, match=f"holds a path, not pixels: put the view `{view}` first in data.prefix"):
            collate([Sample("a", {field: "x.nii"})], torch.arange(1))


def test_stacks_of_unlike_slices_are_refused(tmp_path: Path, cache: Cache) -> None:
    for name, width in (("a", 8), ("b", 6)):
        path = tmp_path / f"{name}.safetensors"
        write_stack_file(path, features=torch.rand(3, width), position=torch.zeros(3, 3))
    manifest = Manifest.of({"id": ["a", "b"], "stack": ["a.safetensors", "b.safetensors"]}, root=tmp_path)
    with pytest.raises(
        ConfigError, match=r"of shape \(6, 1, 1\), and \(8, 1, 1\) for other records: it must bring all"
    ):
        prepare(manifest, [ReadStackFile()], cache=cache)
