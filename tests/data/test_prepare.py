from __future__ import annotations

import copy
import fcntl
import os
import resource
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from medvlp.core.errors import ConfigError, DataError, UserError
from medvlp.core.sample import Sample
from medvlp.data import cache as cache_module
from medvlp.data import prepare as module
from medvlp.data.cache import Cache, cache_info, clear_cache, locked
from medvlp.data.manifest import Manifest
from medvlp.data.pipeline import apply_views
from medvlp.data.pool import Pool
from medvlp.data.prepare import Prepared, pool_name, prepare
from medvlp.data.views.affine import Affine
from medvlp.data.views.read import Read
from medvlp.data.views.sections import Sections

PREFIX = [Read(size=16), Sections()]
Cohort = Callable[..., Manifest]


def pixels(prepared: Prepared, index: int) -> torch.Tensor:
    value = prepared.sample(index).fields["image"]
    assert isinstance(value, torch.Tensor)
    return value


@dataclass(frozen=True, kw_only=True)
class Counting:
    """A deterministic view that notes each call in a file, so that worker processes are counted too."""

    random: ClassVar[bool] = False
    log: str = ""

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        with open(self.log, "a") as handle:
            handle.write(f"{sample.id}\n")
        return sample


def test_a_hit_is_bit_for_bit_what_the_views_make_and_within_half_a_level_of_the_unrounded_image(
    cohort: Cohort, cache: Cache
) -> None:
    manifest = cohort(6)
    prepared = prepare(manifest, PREFIX, cache=cache)
    for index in range(6):
        direct = apply_views(prepared.records.sample(index), PREFIX)
        cached = prepared.sample(index)
        assert torch.equal(cached.fields["image"], direct.fields["image"])  # type: ignore[arg-type]
        assert (
            cached.fields["text"] == direct.fields["text"] == f"First fact {index}. Second fact. Third fact.\n\nDone."
        )
        assert cached.records == direct.records
        assert {k: v for k, v in cached.fields.items() if k != "image"} == {
            k: v for k, v in direct.fields.items() if k != "image"
        }
        exact = apply_views(prepared.records.sample(index), [Read(size=16, bits=32)]).fields["image"]
        assert float((cached.fields["image"] - exact).abs().max()) <= 1 / 510 + 1e-7  # type: ignore[operator]


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_every_depth_comes_back_exactly(cohort: Cohort, cache: Cache, bits: int) -> None:
    views = [Read(size=16, bits=bits)]  # type: ignore[arg-type]
    prepared = prepare(cohort(3), views, cache=cache)
    direct = apply_views(prepared.records.sample(2), views).fields["image"]
    assert torch.equal(pixels(prepared, 2), direct)  # type: ignore[arg-type]


def test_words_are_there_without_the_pixels_and_no_pixel_is_read_for_them(cohort: Cohort, cache: Cache) -> None:
    prepared = prepare(cohort(3), PREFIX, cache=cache)
    assert prepared.store is not None
    both = [prepared.sample(index) for index in range(len(prepared))]
    next(cache.pools.glob("*/image.bin")).unlink()
    without = replace(prepared, store=copy.copy(prepared.store))  # maps the files anew, as a worker does
    with pytest.raises(IndexError):
        without.sample(0)
    for index, sample in enumerate(both):
        words = {name: value for name, value in sample.fields.items() if not isinstance(value, torch.Tensor)}
        assert "text" in words
        assert without.sample(index, pixels=False).fields == words


def test_workers_make_the_same_bits(cohort: Cohort, tmp_path: Path) -> None:
    manifest = cohort(130)
    alone = prepare(manifest, PREFIX, cache=Cache(tmp_path / "c0"), workers=0)
    shared = prepare(manifest, PREFIX, cache=Cache(tmp_path / "c2"), workers=2)
    assert all(torch.equal(pixels(alone, i), pixels(shared, i)) for i in range(130))


def test_only_new_records_are_made_whatever_the_manifest(cohort: Cohort, cache: Cache, tmp_path: Path) -> None:
    log = tmp_path / "log"
    views = [Read(size=16), Counting(log=str(log))]
    manifest = cohort(8)
    prepare(manifest.take([0, 1, 2]), views, cache=cache)
    first = log.read_text().split()
    assert sorted(set(first)) == ["s0", "s1", "s2"]
    log.unlink()
    shutil.move(str(manifest.root), str(tmp_path / "moved"))
    moved = Manifest(manifest.table, root=tmp_path / "moved")
    prepared = prepare(moved.take([2, 5, 1]), views, cache=cache)
    assert set(log.read_text().split()) == {"s5"}, "a moved archive is known by its bytes"
    direct = apply_views(prepared.records.sample(0), [Read(size=16)]).fields["image"]
    assert torch.equal(pixels(prepared, 0), direct)  # type: ignore[arg-type]
    log.unlink()
    prepare(moved.take([1, 2]), views, cache=cache)
    assert not log.exists()


def test_an_interrupted_filling_goes_on_where_it_stopped(cohort: Cohort, cache: Cache, tmp_path: Path) -> None:
    log = tmp_path / "log"
    views = [Read(size=16), Counting(log=str(log))]
    manifest = cohort(150)

    def interrupt(done: int, total: int) -> None:
        if done >= 64:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(manifest, views, cache=cache, progress=interrupt)
    log.unlink()
    seen: list[tuple[int, int]] = []
    prepared = prepare(manifest, views, cache=cache, progress=lambda done, total: seen.append((done, total)))
    assert len(set(log.read_text().split())) == 150 - 64
    assert seen[-1] == (150, 150)
    direct = apply_views(prepared.records.sample(149), [Read(size=16)]).fields["image"]
    assert torch.equal(pixels(prepared, 149), direct)  # type: ignore[arg-type]


def test_an_interrupted_filling_needs_no_more_room_than_it_had_taken(cohort: Cohort, cache: Cache) -> None:
    manifest = cohort(150)

    def interrupt(done: int, total: int) -> None:
        if done >= 64:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(manifest, [Read(size=64)], cache=cache, progress=interrupt)
    tight = replace(cache, cap=cache_info(cache).bytes + 64 * 64 * 40)  # of the 86 rows that are missing
    assert len(prepare(manifest, [Read(size=64)], cache=tight)) == 150


@pytest.mark.parametrize("others", [3, 4])
def test_two_processes_that_prepare_at_once_read_the_same(
    cohort: Cohort, cache: Cache, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    """While one waits for the lock the other fills the pool, with all of its records or most."""
    manifest = cohort(4)

    @contextmanager
    def after_another(path: Path) -> Iterator[None]:
        monkeypatch.undo()
        prepare(manifest.take(np.arange(4) < others), PREFIX, cache=cache)
        with locked(path):
            yield

    monkeypatch.setattr(module, "locked", after_another)
    late = prepare(manifest, PREFIX, cache=cache)
    for index in range(4):
        expected = apply_views(late.records.sample(index), PREFIX).fields["image"]
        assert torch.equal(pixels(late, index), expected)  # type: ignore[arg-type]


def test_what_another_process_stores_while_a_pool_is_opened_is_not_taken_for_lost(
    cohort: Cohort, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = cohort(4)
    prepare(manifest.take([0]), PREFIX, cache=cache)
    looked_at = Path.stat

    def filled_meanwhile(path: Path, **options: bool) -> os.stat_result:
        found = looked_at(path, **options)
        if path.name == "image.bin":
            monkeypatch.undo()
            prepare(manifest, PREFIX, cache=cache)
            monkeypatch.setattr(Path, "stat", lambda one, **more: found if one == path else looked_at(one, **more))
        return found

    monkeypatch.setattr(Path, "stat", filled_meanwhile)
    Pool(cache.pools / pool_name(PREFIX), PREFIX)
    monkeypatch.undo()
    assert [pool.records for pool in cache_info(cache).pools] == [4]


def test_records_that_vanish_from_the_cache_meanwhile_are_not_left_out_in_silence(
    cohort: Cohort, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled = Pool.fill

    def lost(pool: Pool, *given: object, **options: object) -> Iterator[object]:
        yield from filled(pool, *given, **options)  # type: ignore[arg-type]
        pool._database.execute("DELETE FROM rows WHERE row = 2")

    monkeypatch.setattr(Pool, "fill", lost)
    with pytest.raises(DataError, match="lost records while it was in use: start again, they will be made again"):
        prepare(cohort(4), PREFIX, cache=cache)
    monkeypatch.undo()
    assert len(prepare(cohort(4), PREFIX, cache=cache)) == 4


def test_rows_that_somebody_cut_off_are_made_again(cohort: Cohort, cache: Cache) -> None:
    manifest = cohort(5)
    before = [pixels(prepare(manifest, PREFIX, cache=cache), i) for i in range(5)]
    file = cache.pools / pool_name(PREFIX) / "image.bin"
    os.truncate(file, 2 * 16 * 16)
    after = prepare(manifest, PREFIX, cache=cache)
    assert all(torch.equal(pixels(after, i), before[i]) for i in range(5))


def test_options_code_and_decoders_are_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    name = pool_name(PREFIX)
    assert pool_name([Read(size=16), Sections()]) == name
    assert pool_name([Read(size=32), Sections()]) != name
    assert pool_name([Read(size=16, bits=16), Sections()]) != name
    assert pool_name([Read(size=16, preset="mimic_jpg_v1"), Sections()]) != name
    monkeypatch.setattr(module, "_code", lambda: "other code")
    assert pool_name(PREFIX) != name
    monkeypatch.undo()
    monkeypatch.setattr(module, "decoder_versions", lambda: {"pydicom": "9"})
    assert pool_name(PREFIX) != name


@pytest.mark.parametrize("library", ["pydicom", "nibabel", "monai"])
def test_another_version_of_what_reads_or_resamples_fills_another_pool(
    monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    name, version = pool_name(PREFIX), metadata.version
    monkeypatch.setattr(metadata, "version", lambda each: "99" if each == library else version(each))
    assert pool_name(PREFIX) != name


def test_the_cache_can_be_read_by_its_owner_only(cohort: Cohort, cache: Cache) -> None:
    old = os.umask(0o022)
    try:
        cache.folder.mkdir(mode=0o755)
        prepare(cohort(2), PREFIX, cache=cache)
    finally:
        os.umask(old)
    for path in [cache.folder, *cache.folder.rglob("*")]:
        want = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == want, path
    assert not any(b"s0" in path.name.encode() or b".png" in path.name.encode() for path in cache.folder.rglob("*"))


def test_the_longest_unused_pool_is_evicted_and_a_held_one_never(cohort: Cohort, cache: Cache) -> None:
    manifest = cohort(40)
    kept = [prepare(manifest, [Read(size=size)], cache=cache) for size in (64, 65)]
    names = [pool_name([Read(size=size)]) for size in (64, 65)]
    os.utime(cache.pools / names[1] / "used", (0, 0))
    assert [pool.name for pool in cache_info(cache).pools] == [names[1], names[0]]
    tight = replace(cache, cap=cache_info(cache).bytes + 1000)
    with pytest.raises(DataError, match="set MEDVLP_CACHE_GIB to more, or choose a smaller image size"):
        prepare(manifest, [Read(size=66)], cache=tight)
    assert {names[0], names[1]} <= {pool.name for pool in cache_info(cache).pools}
    del kept[1]
    prepare(manifest, [Read(size=66)], cache=tight)
    assert names[1] not in {pool.name for pool in cache_info(cache).pools}
    assert names[0] in {pool.name for pool in cache_info(cache).pools}
    assert pixels(kept[0], 3).shape == (1, 64, 64)


def test_the_cache_may_hold_what_the_user_says(cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDVLP_CACHE_GIB", f"{64 * 64 / 2**30}")
    assert Cache.default().cap == Cache(tmp_path).cap == 64 * 64
    with pytest.raises(DataError, match=r"may hold 0\.00 GiB: set MEDVLP_CACHE_GIB to more"):
        prepare(cohort(2), [Read(size=64)], cache=tmp_path)
    monkeypatch.setenv("MEDVLP_CACHE_GIB", "0.5")
    assert len(prepare(cohort(2), [Read(size=64)], cache=tmp_path)) == 2
    for wrong in ("all", "nan", "inf"):
        monkeypatch.setenv("MEDVLP_CACHE_GIB", wrong)
        with pytest.raises(UserError, match=f"MEDVLP_CACHE_GIB is '{wrong}': set it to how many GiB"):
            Cache.default()


def test_a_pool_that_was_taken_into_use_since_it_was_looked_at_is_not_evicted(
    cohort: Cohort, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = cohort(2)
    prepare(manifest, PREFIX, cache=cache)
    known = cache_info(cache)
    assert [pool.held for pool in known.pools] == [False]
    prepared = prepare(manifest, PREFIX, cache=cache)
    monkeypatch.setattr(cache_module, "cache_info", lambda asked: known)
    assert clear_cache(cache) < known.bytes
    assert pixels(prepared, 0).shape == (1, 16, 16)
    assert (cache.pools / pool_name(PREFIX) / "index.sqlite").exists()


def test_a_pool_that_is_evicted_while_it_is_opened_is_made_again(
    cohort: Cohort, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = cohort(2)
    prepare(manifest, PREFIX, cache=cache)
    lock = fcntl.flock

    def evicted(descriptor: int, how: int) -> None:
        if how == fcntl.LOCK_SH:
            monkeypatch.undo()
            clear_cache(cache)
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", evicted)
    assert len(prepare(manifest, PREFIX, cache=cache)) == 2


def test_clearing_frees_what_nobody_holds(cohort: Cohort, cache: Cache) -> None:
    prepared = prepare(cohort(3), PREFIX, cache=cache)
    clear_cache(cache)
    assert [pool.held for pool in cache_info(cache).pools] == [True]
    assert pixels(prepared, 0).shape == (1, 16, 16)
    del prepared
    assert clear_cache(cache) > 0
    assert cache_info(cache).pools == ()


def test_unreadable_records_are_listed_without_their_path_and_left_out(cohort: Cohort, cache: Cache) -> None:
    manifest = cohort(100)
    (manifest.root / "7.png").write_bytes(b"")
    (manifest.root / "9.png").unlink()
    prepared = prepare(manifest, PREFIX, cache=cache)
    assert [(entry.id, entry.reason) for entry in prepared.quarantined] == [("s7", "empty"), ("s9", "not_found")]
    assert not any(str(manifest.root) in entry.hint for entry in prepared.quarantined)
    assert len(prepared) == 98
    assert "s7" not in prepared.manifest.column("id").tolist()
    assert prepared.sample(7).id == "s8"
    direct = apply_views(prepared.records.sample(97), PREFIX).fields["image"]
    assert torch.equal(pixels(prepared, 97), direct)  # type: ignore[arg-type]
    again = prepare(manifest, PREFIX, cache=cache)
    assert again.quarantined == prepared.quarantined
    shutil.copy(manifest.root / "8.png", manifest.root / "7.png")
    assert [entry.id for entry in prepare(manifest, PREFIX, cache=cache).quarantined] == ["s9"], "a mended file counts"


def test_more_unreadable_records_than_the_cap_stop_the_run(cohort: Cohort, cache: Cache) -> None:
    manifest = cohort(50)
    (manifest.root / "7.png").write_bytes(b"not an image at all")
    for name in ("8.png", "9.png", "10.png"):
        (manifest.root / name).write_bytes(b"")
    told = (
        rf"4 of 50 records below {manifest.root} cannot be read \(.*3 empty.*\), more than the 3 that a cap of 2\.0% "
        r"allows; the .*; mend or remove them, or raise data\.quarantine, the largest share that may be left out"
    )
    with pytest.raises(DataError, match=told):
        prepare(manifest, PREFIX, cache=cache)
    assert len(prepare(manifest, PREFIX, cache=cache, cap=0.08)) == 46
    with pytest.raises(DataError, match=r"more than the 0 that a cap of 0\.0% allows"):
        prepare(manifest, PREFIX, cache=cache, cap=0)


def test_one_damaged_file_of_a_small_cohort_does_not_stop_it(cohort: Cohort, cache: Cache) -> None:
    manifest = cohort(29)
    (manifest.root / "7.png").write_bytes(b"")
    prepared = prepare(manifest, PREFIX, cache=cache)
    assert (len(prepared), [entry.id for entry in prepared.quarantined]) == (28, ["s7"])


def test_records_without_an_image_or_without_a_report_pass(cohort: Cohort, cache: Cache) -> None:
    manifest = cohort(4)
    manifest = manifest.with_column("image", [None, "1.png", "2.png", None])
    manifest = manifest.with_column("text", ["a b.", None, "c d.", "e f."])
    prepared = prepare(manifest, PREFIX, cache=cache)
    assert [sorted({"image", "text"} & set(prepared.sample(i).fields)) for i in range(4)] == [
        ["text"],
        ["image"],
        ["image", "text"],
        ["text"],
    ]


@dataclass(frozen=True, kw_only=True)
class Darken:
    """Changes pixels after they were rounded."""

    random: ClassVar[bool] = False

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        return Sample(sample.id, {**sample.fields, "image": sample.fields["image"] * 0.3})  # type: ignore[operator]


def test_a_prefix_that_cannot_be_cached_rightly_is_refused(cohort: Cohort, cache: Cache) -> None:
    with pytest.raises(ConfigError, match="'affine' is random: move it from the prefix to the suffix"):
        prepare(cohort(2), [Read(size=16), Affine()], cache=cache)
    with pytest.raises(ConfigError, match="has 8 bits and gives other values"):
        prepare(cohort(2), [Read(size=16), Darken()], cache=cache)


@dataclass(frozen=True, kw_only=True)
class Invert:
    """A second view of one file, with the options of the first."""

    random: ClassVar[bool] = False

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        return Sample(sample.id, {**sample.fields, "image": 1 - sample.fields["image"]})  # type: ignore[operator]


def test_two_views_of_one_file_have_pools_of_their_own(cohort: Cohort, cache: Cache) -> None:
    """As of another package, which names its components by entry points."""
    manifest = cohort(1)
    for view in (Darken(), Invert()):
        prefix = [Read(size=16, bits=32), view]
        prepared = prepare(manifest, prefix, cache=cache)
        expected = apply_views(prepared.records.sample(0), prefix).fields["image"]
        assert torch.equal(pixels(prepared, 0), expected)  # type: ignore[arg-type]


def test_a_full_disk_is_one_sentence_and_what_was_prepared_is_kept(cohort: Cohort, cache: Cache) -> None:
    manifest = cohort(40)
    prepare(manifest.take([0, 1, 2]), [Read(size=64)], cache=cache)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # a file system that ends within the array
    try:
        with pytest.raises(UserError, match=r"disk of the cache .* is full: make room, or set MEDVLP_CACHE"):
            prepare(manifest, [Read(size=64)], cache=cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [pool.records for pool in cache_info(cache).pools] == [3]
    assert len(prepare(manifest, [Read(size=64)], cache=cache)) == 40


def test_a_disk_that_holds_no_database_is_not_taken_for_a_damaged_one(tmp_path: Path) -> None:
    """Whoever is told that it is damaged removes it, be it one that another process writes."""
    table = "CREATE TABLE IF NOT EXISTS facts (path TEXT)"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(UserError, match=r"new\.sqlite cannot be used \(disk I/O error\): start again, or set"):
            cache_module.open_database(tmp_path / "new.sqlite", table)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (tmp_path / "old.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(DataError, match=r"old\.sqlite is damaged .* remove it, it will be made again"):
        cache_module.open_database(tmp_path / "old.sqlite", table)


def test_a_damaged_pool_is_one_sentence(cohort: Cohort, cache: Cache) -> None:
    prepare(cohort(2), PREFIX, cache=cache)
    (cache.pools / pool_name(PREFIX) / "spec.json").write_text("{}")
    with pytest.raises(DataError, match="is damaged: remove that folder, it will be made again"):
        prepare(cohort(2), PREFIX, cache=cache)


def test_an_escaping_path_stops_the_run_and_is_not_merely_quarantined(cohort: Cohort, cache: Cache) -> None:
    manifest = cohort(2).with_column("image", ["0.png", "../../etc/passwd"])
    with pytest.raises(DataError, match="leaves the folder"):
        prepare(manifest, PREFIX, cache=cache)
