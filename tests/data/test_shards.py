"""Shards: the files' bytes at the index's places; what reads a manifest cannot tell shards from files."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import multiprocessing
import os
import signal
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from medvlp.core.errors import DataError, UserError
from medvlp.core.sample import Sample
from medvlp.data.cache import Cache
from medvlp.data.contents import content_hashes
from medvlp.data.layouts import index_cohort
from medvlp.data.leakage import check_split
from medvlp.data.loader import Loader
from medvlp.data.manifest import Manifest
from medvlp.data.mask_files import mask_of
from medvlp.data.prepare import Prepared, prepare
from medvlp.data.shard_index import column_hashes, indexed_hashes
from medvlp.data.shards import Sharded, shard_manifest
from medvlp.data.splits.patient import by_patient
from medvlp.data.views.affine import Affine
from medvlp.data.views.intensity import Intensity
from medvlp.data.views.read import Read
from medvlp.data.views.read_stack import ReadStack
from medvlp.io.errors import UnreadableImage
from medvlp.io.member import TarMember, member_of, open_member
from medvlp.io.read import read_image
from medvlp.io.volume_read import read_volume
from medvlp.io.volume_slices import open_slices
from tests.data.volumes import volume_cohort
from tests.io.conftest import dicom_writer
from tests.io.ct_series import write_series

SMALL = 4096  # bytes: a few pictures a shard
Make = Callable[..., Manifest]


@pytest.fixture
def films(cohort: Make) -> Manifest:
    return cohort(12)


def sharded(manifest: Manifest, out: Path, *, size: int = SMALL) -> tuple[Sharded, Manifest]:
    done = shard_manifest(manifest, out, size=size)
    return done, Manifest.load(done.manifest)


def batches(prepared: Prepared, *, start: int = 0, workers: int = 0, views: tuple = ()) -> list:
    suffix = [*views, Affine(), Intensity()]
    loader = Loader(prepared, suffix, batch=4, seed=3, start=start, workers=workers)
    return list(itertools.islice(iter(loader), 7 - start // 4))


def same(a: list, b: list) -> bool:
    return len(a) == len(b) > 0 and all(
        x.ids == y.ids
        and torch.equal(x.positions, y.positions)
        and torch.equal(x["image"].values, y["image"].values)
        and x["text"].values == y["text"].values
        for x, y in zip(a, b, strict=True)
    )


def test_members_are_the_files_byte_for_byte_where_tarfile_and_index_say(films: Manifest, tmp_path: Path) -> None:
    done, table = sharded(films, tmp_path / "out")
    index = pq.read_table(tmp_path / "out" / "index.parquet").to_pylist()
    seen = []
    for path in sorted((tmp_path / "out").glob("*.tar")):
        assert path.stat().st_size % 10240 == 0
        with tarfile.open(path, "r:") as tar:
            for entry in tar:
                data = tar.extractfile(entry).read()
                row = index[len(seen)]
                assert (row["shard"], row["member"], row["offset"], row["size"]) == (
                    path.name, entry.name, entry.offset_data, entry.size,
                )  # fmt: skip
                assert (row["sha256"], row["key"]) == (hashlib.sha256(data).digest(), entry.name.partition(".")[0])
                assert (entry.mode, entry.uid, entry.mtime, entry.uname) == (0o644, 0, 0, "")
                seen.append((entry.name, data))
    assert len(seen) == len(index) == 24
    assert done.shards == len(list((tmp_path / "out").glob("*.tar"))) > 2
    for row in range(12):
        image, words = seen[2 * row : 2 * row + 2]
        assert image == (f"{row:012}.png", films.path(row).read_bytes())
        others = {name: value for name, value in films.record(row).items() if name != "image"}
        assert (words[0], json.loads(words[1])) == (f"{row:012}.json", others)
        assert table.arrow("image")[row].as_py().endswith(f"+{len(image[1])}/{image[0]}")
    assert [name for name in table.names if not table.arrow(name).equals(films.arrow(name))] == ["image"]


def test_training_sees_the_same_bits_from_shards_with_workers_and_after_a_resume(
    films: Manifest, tmp_path: Path, cache: Cache
) -> None:
    _, table = sharded(films, tmp_path / "out")
    files = batches(prepare(films, [Read(size=16)], cache=cache))
    assert same(files, batches(prepare(table, [Read(size=16)], cache=Cache(tmp_path / "other"))))
    read = (Read(size=16),)  # nothing is prepared: read as it is asked for
    streamed = prepare(table, [])
    direct = batches(prepare(films, []), views=read)
    assert same(direct, batches(streamed, views=read, workers=2))
    assert same(direct[3:], batches(streamed, views=read, start=12))
    assert sorted(itertools.chain.from_iterable(batch.ids for batch in files[:3])) == sorted(films.column("id"))


def _killed(manifest: Manifest, out: Path, row: int) -> None:
    def tell(done: int, total: int) -> None:
        if done == row:
            os.kill(os.getpid(), signal.SIGKILL)

    shard_manifest(manifest, out, size=SMALL, progress=tell)


@pytest.mark.pool
def test_a_killed_run_goes_on_to_the_same_bytes(films: Manifest, tmp_path: Path) -> None:
    whole, _ = sharded(films, tmp_path / "whole")
    out = tmp_path / "killed"
    for row in (1, 7):
        process = multiprocessing.get_context("fork").Process(target=_killed, args=(films, out, row))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not (out / "manifest.parquet").exists()
    told: list[int] = []
    shard_manifest(films, out, size=SMALL, progress=lambda done, _: told.append(done))
    assert min(told) >= 7  # shards that were there are not progress of this run
    done, _ = sharded(films, out)
    assert (done.shards, done.records) == (whole.shards, 12)
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert sorted(path.name for path in out.iterdir()) == names
    assert all((out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes() for name in names)
    assert sharded(films, out)[0] == done  # asked for again, nothing is done


def _stopped(manifest: Manifest, out: Path, row: int) -> None:
    def tell(done: int, total: int) -> None:
        if done == row:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shard_manifest(manifest, out, size=SMALL, progress=tell)


@pytest.mark.parametrize("factor", [1, 40])
def test_shards_whose_files_changed_meanwhile_are_made_again(films: Manifest, tmp_path: Path, factor: int) -> None:
    """Also where there are fewer then: the files are larger first, and smaller when the run goes on."""
    small = [films.path(row).read_bytes() for row in range(12)]
    for row in range(12):
        films.path(row).write_bytes(small[row] + bytes(factor * 100))
    _stopped(films, tmp_path / "out", 11)
    films.path(0).write_bytes(small[0])
    for row in range(12) if factor > 1 else ():
        films.path(row).write_bytes(small[row])
    sharded(films, tmp_path / "out")
    sharded(films, tmp_path / "whole")
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert all((tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes() for name in names)


def test_a_second_command_in_one_folder_is_refused(films: Manifest, tmp_path: Path) -> None:
    def both(done: int, total: int) -> None:
        with pytest.raises(UserError, match=r"^Another command is at work in .*: wait for it, or name another folder"):
            sharded(films, tmp_path / "out")

    shard_manifest(films, tmp_path / "out", size=SMALL, progress=both)


def test_a_run_killed_while_it_tidied_up_is_finished_by_the_next(films: Manifest, tmp_path: Path) -> None:
    done, _ = sharded(films, tmp_path / "out")
    (tmp_path / "out" / "parts").mkdir()
    (tmp_path / "out" / "parts" / "000001.index").touch()
    assert sharded(films, tmp_path / "out")[0] == done
    assert not (tmp_path / "out" / "parts").exists()


@pytest.mark.parametrize("name", ["shard-000001.tar", "index.parquet"])
def test_a_finished_folder_with_a_file_gone_or_cut_is_not_called_complete(
    films: Manifest, tmp_path: Path, name: str
) -> None:
    out, words = tmp_path / "out", f"{name} is gone or has another size than when it was packed .1 files are so.: bring"
    sharded(films, out)
    whole = (out / name).read_bytes()
    for left in (whole[:-1], None):
        (out / name).write_bytes(left) if left else (out / name).unlink()
        with pytest.raises(UserError, match=words):
            sharded(films, out)
    (out / name).write_bytes(whole)
    assert sharded(films, out)[0].records == 12


def test_another_manifest_is_not_mixed_into_a_folder(films: Manifest, tmp_path: Path) -> None:
    sharded(films, tmp_path / "out")
    with pytest.raises(UserError, match=r"out holds shards of another manifest or size: name a new folder\."):
        sharded(films, tmp_path / "out", size=2 * SMALL)
    with pytest.raises(UserError, match=r"archive holds other files: name a new folder"):
        sharded(films, films.root)
    with pytest.raises(DataError, match="names no files"):
        sharded(films.without("image"), tmp_path / "b")


def test_records_that_cannot_be_opened_are_left_out_and_listed(films: Manifest, tmp_path: Path) -> None:
    films.path(3).unlink()
    films.path(11).write_bytes(b"")
    done, table = sharded(films, tmp_path / "out")
    assert [(entry.id, entry.reason) for entry in done.quarantined] == [("s3", "not_found"), ("s11", "empty")]
    assert table.column("id").tolist() == [f"s{i}" for i in range(11) if i != 3]
    assert (tmp_path / "out" / "quarantine.csv").read_text().splitlines()[1].startswith("s3,not_found,")
    for row in range(12):
        films.path(row).unlink(missing_ok=True)
    with pytest.raises(DataError, match=r"None of the 12 records .* \(12 not_found\); the first is 's0': there is no"):
        sharded(films, tmp_path / "none")


def test_a_shard_that_was_cut_or_is_another_is_one_sentence_and_quarantine(
    films: Manifest, tmp_path: Path, cache: Cache
) -> None:
    _, table = sharded(films, tmp_path / "out")
    last = member_of(table.path(11))
    with open(last.shard, "r+b") as file:
        file.truncate(last.offset + 10)
    with pytest.raises(UnreadableImage, match=r"0011\.png cannot be read \(truncated\): its shard ends before it does"):
        read_image(table.path(11))
    found = prepare(table, [Read(size=16)], cache=cache, cap=0.1)
    assert [(entry.id, entry.reason) for entry in found.quarantined] == [("s11", "truncated")]
    first = member_of(table.path(0))
    for other in (
        replace(first, offset=first.offset + 1), replace(first, size=first.size - 1), replace(first, name="b.png"),
    ):  # fmt: skip
        with pytest.raises(UnreadableImage, match=r"\(corrupt\): no file of this name and size begins there"):
            read_image(str(other))
    with pytest.raises(UnreadableImage, match="not_found"):
        read_image(str(replace(first, shard=f"{tmp_path}/no.tar")))
    os.mkfifo(tmp_path / "pipe.tar")
    with pytest.raises(UnreadableImage, match="its shard is not a regular file"):
        read_image(str(replace(first, shard=f"{tmp_path}/pipe.tar")))
    huge = replace(first, size=10**14)
    with pytest.raises(UnreadableImage, match="truncated"):
        read_image(str(huge))


def test_names_in_a_manifest_do_not_lead_out_of_its_root(films: Manifest, tmp_path: Path) -> None:
    _, table = sharded(films, tmp_path / "out")
    inside = table.arrow("image")[0].as_py()
    deep = tmp_path / "root"
    deep.mkdir()
    (deep / "link.tar").symlink_to(tmp_path / "out" / "shard-000000.tar")
    place = inside.partition("/")[2]
    for name in (f"../out/{inside}", f"link.tar/{place}", f"{tmp_path}/out/{inside}"):
        manifest = Manifest.of({"id": ["a"], "image": [name]}, root=deep)
        with pytest.raises(DataError, match=r"leaves the folder .*root: name a folder that holds all images"):
            manifest.path(0)
    assert member_of("a.tar/512+10/..") is None
    assert member_of("a.tar/0+10/x.png") is None


def test_a_member_is_a_file_from_its_first_byte_to_its_last(tmp_path: Path) -> None:
    data = np.random.Generator(np.random.Philox(2)).bytes(30_000)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo("dir/x.bin")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    with open_member(TarMember(f"{tmp_path}/a.tar", 512, len(data), "x.bin")) as file:
        assert file.read() == data
        assert (file.read(1), file.seek(-5, os.SEEK_END), file.read()) == (b"", len(data) - 5, data[-5:])
        assert (file.seek(20_000), file.read(9_000), file.tell()) == (20_000, data[20_000:29_000], 29_000)
        with pytest.raises(OSError, match="before the file's start"):
            file.seek(-29_001, os.SEEK_CUR)


def test_a_server_that_sends_whole_files_is_no_store_of_shards(films: Manifest, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec", reason="reads URLs")
    from fsspec.implementations.memory import MemoryFileSystem

    class Whole(MemoryFileSystem):  # as fsspec's HTTP gives what `python -m http.server` sends
        def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: object) -> bytes:
            return super().cat_file(path.removeprefix("whole:/"))

    fsspec.register_implementation("whole", Whole, clobber=True)
    done, _ = sharded(films, tmp_path / "out")
    fsspec.filesystem("memory").put(str(tmp_path / "out"), "/whole", recursive=True)
    far = Manifest.load(done.manifest, root=Path("whole://whole"))
    for row in (0, 1):  # the first of a shard stands at the start of the whole, and had all the others behind it
        member = member_of(far.path(row))
        assert member is not None
        with pytest.raises(UserError, match=r"whole://whole/shard-000000.tar comes whole where a part is asked for"):
            open_member(member)


def test_shards_behind_a_url_give_the_same_pixels_and_hashes(films: Manifest, tmp_path: Path, cache: Cache) -> None:
    fsspec = pytest.importorskip("fsspec", reason="reads URLs")
    done, table = sharded(films, tmp_path / "out")
    store = fsspec.filesystem("memory")
    store.put(str(tmp_path / "out"), "/bucket/cohort", recursive=True)
    far = Manifest.load(done.manifest, root=Path("memory://bucket/cohort"))
    assert str(far.path(0)).startswith("memory:/bucket/cohort/shard-000000.tar/512+")
    near = prepare(table, [])
    assert same(batches(near, views=(Read(size=16),)), batches(prepare(far, []), views=(Read(size=16),), workers=2))
    here = Manifest.load(done.manifest, root=Path(f"file://{tmp_path}/out"))
    assert same(batches(near, views=(Read(size=16),)), batches(prepare(here, []), views=(Read(size=16),)))
    far.save(tmp_path / "far.parquet")
    assert Manifest.load(tmp_path / "far.parquet").path(3) == far.path(3)
    paths = [far.path(row) for row in range(12)]
    assert content_hashes(paths, cache=cache) == [
        hashlib.sha256(films.path(i).read_bytes()).hexdigest() for i in range(12)
    ]
    assert indexed_hashes(paths) == content_hashes(paths, cache=cache)
    store.rm("/bucket/cohort/shard-000000.tar")
    with pytest.raises(UnreadableImage, match="not_found"):
        read_image(far.path(0))
    climbing = Manifest.of({"id": ["a"], "image": [f"../cohort/{table.arrow('image')[0]}"]}, root=far.root)
    with pytest.raises(DataError, match="leaves the folder"):
        climbing.path(0)
    unknown = Manifest.load(done.manifest, root=Path("nonsense://bucket"))
    with pytest.raises(UserError, match=r"nonsense:// cannot be read .*pip install 'openmedvlp\[scale\]'"):
        read_image(unknown.path(0))


def test_hashes_are_the_indexs_while_the_shard_is_as_long(films: Manifest, tmp_path: Path, cache: Cache) -> None:
    _, table = sharded(films, tmp_path / "out")
    truth = [hashlib.sha256(films.path(row).read_bytes()).hexdigest() for row in range(12)]
    shard = tmp_path / "out" / "shard-000000.tar"
    shard.write_bytes(bytes(shard.stat().st_size))  # no byte of it is read for them
    paths = [table.path(row) for row in range(12)]
    assert content_hashes(paths, cache=cache) == truth
    (tmp_path / "out" / "index.parquet").rename(tmp_path / "index.parquet")
    again = tmp_path / "again"
    (tmp_path / "out").rename(again)  # without an index files are hashed, where they can be read
    moved = [Manifest.load(again / "manifest.parquet").path(row) for row in range(12)]
    inside = sum("shard-000000" in str(path) for path in moved)
    assert content_hashes(moved, cache=cache) == [""] * inside + truth[inside:]
    shard = again / "shard-000001.tar"
    (tmp_path / "index.parquet").rename(again / "index.parquet")
    with open(shard, "ab") as file:
        file.write(b"0")
    changed = ["shard-000001" in str(path) for path in moved]
    assert [bool(sha) for sha in indexed_hashes(moved)] == [not each for each in changed]


def test_leaks_and_splits_work_on_a_sharded_manifest(films: Manifest, tmp_path: Path) -> None:
    films.path(5).write_bytes(films.path(0).read_bytes())
    parts = ["train", "train", *["test"] * 10]
    _, table = sharded(films.with_column("split", parts), tmp_path / "out")
    found = check_split(table, near=False)
    assert [(leak.kind, leak.a, leak.b) for leak in found] == [("image", "s0", "s5")]
    assert column_hashes(table, "image").to_pylist() == [
        hashlib.sha256(films.path(row).read_bytes()).digest() for row in range(12)
    ]
    some = table.with_column("image", [None, *table.column("image")[1:]])
    assert column_hashes(some, "image").to_pylist() == [None, *column_hashes(table, "image").to_pylist()[1:]]
    assert check_split(some, near=False) == []
    mixed = table.with_column("image", ["a.png", *table.column("image")[1:]])
    (tmp_path / "out" / "a.png").write_bytes(films.path(5).read_bytes())
    assert column_hashes(mixed, "image") is None  # then files are hashed
    assert check_split(mixed, near=False) == found
    for offset in (511, 1 << 40):  # nor where the index knows no file at a place, before its last one or behind it
        name = str(table.column("image")[11])
        odd = name.replace(f"/{member_of(name).offset}+", f"/{offset}+")
        other = table.with_column("image", [odd if each == name else each for each in table.column("image")])
        assert column_hashes(other, "image") is None
        found_by_index = indexed_hashes([other.path(row) for row in range(12)])
        assert [bool(sha) for sha in found_by_index] == [row != 11 for row in range(12)]
    crossed = table.with_column("id.patient", ["p"] * 12).with_column("split", [None, "train", *["test"] * 10])
    assert [(leak.kind, leak.a, leak.b) for leak in check_split(crossed, near=False)] == [
        ("patient", "s1", "s2"),
    ]  # fmt: skip
    assert by_patient(table.without("split")).parts == by_patient(films).parts


def test_stacks_folders_and_masks_go_into_shards(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    (root / "cine").mkdir(parents=True)
    draws = np.random.Generator(np.random.Philox(8))
    for name in ("cine/a2.png", "cine/a10.png", "x.png", "y.png"):
        Image.fromarray(draws.integers(0, 256, (20, 20), dtype=np.uint8)).save(root / name)
    Image.fromarray(draws.integers(0, 3, (20, 20), dtype=np.uint8)).save(root / "organs.png")
    films = Manifest.of(
        {"id": ["a", "b", "c"], "stack": ["cine", "x.png", None], "image": [None, "y.png", "x.png"],
         "mask.heart": ["organs.png#1", None, None], "mask.lung": ["organs.png#2", None, "organs.png"]}, root=root,
    )  # fmt: skip
    _, table = sharded(films, tmp_path / "out", size=1 << 20)
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as tar:
        names = [name.removeprefix("0000000000") for name in tar.getnames()]
    assert names == [
        "00.stack.0000.png", "00.stack.0001.png", "00.mask.heart.png", "00.json", "01.image.png", "01.stack.0000.png",
        "01.json", "02.image.png", "02.mask.lung.png", "02.json",
    ]  # fmt: skip
    for row, numbers in ((0, [0, 1]), (1, [0])):
        stacks = []
        for manifest in (films, table):
            files = tuple(str(path) for path in manifest.paths(row, "stack"))
            fields = {"stack": files if len(files) > 1 else files[0]}
            stacks.append(
                ReadStack(size=16)(Sample("a", fields), torch.Generator()).fields["stack"].take(numbers).pixels
            )
        assert torch.equal(*stacks)
    for row, name in ((0, "mask.heart"), (0, "mask.lung")):
        masks = [mask_of(each.arrow(name)[row].as_py(), each.root).pixels for each in (films, table)]
        assert np.array_equal(*masks)
        assert masks[0].any()


def test_shards_made_by_others_are_indexed_in_place(films: Manifest, tmp_path: Path) -> None:
    _, table = sharded(films, tmp_path / "out")
    found = index_cohort("webdataset", tmp_path / "out", {"columns": {"text": "text", "patient_id": "id.patient"}})
    assert found.column("image").tolist() == table.column("image").tolist()
    assert found.column("id.patient").tolist() == films.column("id.patient").tolist()
    assert found.column("text").tolist() == films.column("text").tolist()


def test_volumes_read_the_same_packed_plain_and_as_a_folder_of_slices(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    volume_cohort(root, (5, 4))
    write_series(dicom_writer(tmp_path), root / "slices")
    films = Manifest.of({"id": ["a", "b", "c"], "volume": ["v0.nii", "v1.nii.gz", "slices"]}, root=root)
    _, table = sharded(films, tmp_path / "out")
    assert [table.path(row, "volume").name[12:] for row in range(3)] == [".nii", ".nii.gz", ".zip"]
    with open_member(member_of(table.path(2, "volume"))) as file, zipfile.ZipFile(file) as packed:
        slices = [packed.read(name) for name in sorted(packed.namelist())]
    assert slices == [file.read_bytes() for file in sorted((root / "slices").iterdir())]  # whatever order a disk has
    ours, theirs = (open_slices(each.path(0, "volume")).read([3]) for each in (films, table))
    assert np.array_equal(ours, theirs)  # of a plain file one slice is read
    for row in range(3):
        ours, theirs = (read_volume(each.path(row, "volume")) for each in (films, table))
        assert np.array_equal(ours.voxels, theirs.voxels)
        assert np.array_equal(ours.affine.matrix, theirs.affine.matrix)
