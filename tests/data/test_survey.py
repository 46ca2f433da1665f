"""A survey tells of each file what is in it, reads none twice, and keeps what it knows when it is killed."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import medvlp.data.survey as module
from medvlp.core.errors import DataError, UserError
from medvlp.data.cache import Cache, clear_cache, open_database
from medvlp.data.facts import ImageFacts, read_facts
from medvlp.data.manifest import Manifest
from medvlp.data.survey import Survey, survey_images
from tests.io.conftest import dicom_writer
from tests.io.ct_series import write_enhanced, write_series

NOISE = np.random.Generator(np.random.Philox(11)).integers(0, 256, (256, 128), dtype=np.uint8)


@pytest.fixture
def films(tmp_path: Path) -> list[Path]:
    """Nine noise pictures in three formats."""
    draws = np.random.Generator(np.random.Philox(3))
    paths = []
    for at in range(9):
        path = tmp_path / f"{at}.{('png', 'jpg', 'tif')[at % 3]}"
        Image.fromarray(draws.integers(0, 256, (40 + at, 30), dtype=np.uint8)).save(path)
        paths.append(path)
    return paths


def known(facts: ImageFacts | None) -> ImageFacts:
    assert facts is not None
    return facts


def forge(path: Path) -> None:
    """Replace the bytes and keep size and time: only who reads the file again can notice."""
    stat = path.stat()
    path.write_bytes(bytes(stat.st_size))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


# facts ---------------------------------------------------------------------------------------------------------------


def test_the_small_picture_is_the_mean_of_what_lies_under_each_of_its_pixels(tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    facts = read_facts(tmp_path / "a.png")
    expected = NOISE.reshape(128, 2, 64, 2).mean(axis=(1, 3))
    assert np.abs(facts.picture - expected).max() <= 0.51
    assert (facts.height, facts.width, facts.depth, facts.kind, facts.reason) == (256, 128, 1, "PNG L", "")
    assert facts.sha256 == hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 400), width=st.integers(1, 400))
def test_the_longer_side_has_128_pixels_and_the_other_keeps_the_aspect(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int
) -> None:
    path = tmp_path_factory.mktemp("gray") / "a.png"
    Image.fromarray(np.full((height, width), 77, np.uint8)).save(path)
    facts = read_facts(path)
    assert max(facts.thumb_height, facts.thumb_width) == 128
    assert abs(facts.thumb_height * width - facts.thumb_width * height) <= max(height, width)
    assert set(facts.thumbnail) == {77}


def test_one_picture_in_two_containers_has_one_hash_of_pixels_and_two_of_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.tif"):
        Image.fromarray(NOISE).save(tmp_path / name)
    Image.fromarray(NOISE[::-1]).save(tmp_path / "c.png")
    Image.fromarray(NOISE.reshape(128, 256)).save(tmp_path / "d.png")
    one, same, turned, reshaped = (read_facts(tmp_path / name) for name in ("a.png", "b.tif", "c.png", "d.png"))
    assert one.pixels == same.pixels
    assert one.sha256 != same.sha256
    assert len({one.pixels, turned.pixels, reshaped.pixels}) == 3


def test_a_volume_is_shown_by_its_middle_axial_slice(tmp_path: Path) -> None:
    import nibabel

    voxels = np.full((20, 30, 9), -1000, np.int16)  # air, but for a square of tissue in the fifth slice
    voxels[5:15, 10:20, 4] = 40
    nibabel.Nifti1Image(voxels, np.diag([1.0, 1.0, 3.0, 1.0])).to_filename(tmp_path / "ct.nii.gz")
    facts = read_facts(tmp_path / "ct.nii.gz")
    assert (facts.height, facts.width, facts.depth, facts.kind) == (30, 20, 9, "NIfTI-1 int16")
    assert facts.picture.shape == (128, 85)
    assert facts.picture[0, 0] == 0
    assert facts.picture[64, 42] > 100
    voxels[..., 4] = -1000
    nibabel.Nifti1Image(voxels, np.eye(4)).to_filename(tmp_path / "air.nii.gz")
    assert not read_facts(tmp_path / "air.nii.gz").picture.any()


def test_voxels_that_are_not_finite_hide_no_air(tmp_path: Path) -> None:
    """Programs that resample leave NaN around a body: it is a CT still, and black as air is."""
    import nibabel

    voxels = np.full((8, 8, 3), -1000, np.float32)
    voxels[2:5, 1:4] = 40
    for name, outside in (("air.nii.gz", -1000), ("nan.nii.gz", np.nan)):
        voxels[0] = outside
        nibabel.Nifti1Image(voxels, np.eye(4)).to_filename(tmp_path / name)
    assert read_facts(tmp_path / "nan.nii.gz").pixels == read_facts(tmp_path / "air.nii.gz").pixels


def test_a_zipped_series_is_the_volume_of_its_folder_and_other_zips_are_several_images(tmp_path: Path) -> None:
    series = write_series(dicom_writer(tmp_path), tmp_path / "series")
    shutil.make_archive(str(tmp_path / "ct"), "zip", series)
    facts, own = read_facts(tmp_path / "ct.zip"), read_facts(series)
    assert (facts.pixels, facts.depth, facts.reason) == (own.pixels, own.depth, "")
    assert own.depth > 1
    (tmp_path / "films").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(NOISE).save(tmp_path / "films" / name)
    shutil.make_archive(str(tmp_path / "two"), "zip", tmp_path / "films")
    assert read_facts(tmp_path / "two.zip").reason == "several_images"


def test_a_volume_without_air_is_shown_by_its_percentiles(tmp_path: Path) -> None:
    import nibabel

    voxels = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    nibabel.Nifti1Image(voxels, np.eye(4)).to_filename(tmp_path / "mr.nii")
    picture = read_facts(tmp_path / "mr.nii").picture
    assert picture.max() - picture.min() > 128


@pytest.mark.parametrize("modality", ["PT", "MG", "US", "CT"])
def test_what_can_be_read_is_not_called_unreadable_for_its_modality_or_unit(tmp_path: Path, modality: str) -> None:
    """PET, tomosynthesis, volume ultrasound, perfusion of CT: no preset was asked for, so none can be the wrong one."""
    unit = {0x00289145: ("SQ", [{0x00281053: ("DS", 0.1), 0x00281052: ("DS", 0), 0x00281054: ("LO", "US")}])}
    tags = {0x00080060: ("CS", modality)}
    path = write_enhanced(dicom_writer(tmp_path), tags=tags, group=lambda frame, own: own.update(unit))
    facts = read_facts(path)
    assert (facts.reason, facts.depth) == ("", 8)
    assert int(facts.picture.max()) - int(facts.picture.min()) > 128


@pytest.mark.parametrize(
    ("content", "reason", "words"),
    [
        (b"", "empty", "0 bytes"),
        (b"not a picture at all", "not_an_image", "it is text"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), None, ""),
        (b"version https://git-lfs.github.com/spec/v1\n", "pointer", "fetch the content"),
    ],
)
def test_what_cannot_be_read_says_why_and_never_where(
    tmp_path: Path, content: bytes, reason: str | None, words: str
) -> None:
    path = tmp_path / "DOE_JANE.png"
    path.write_bytes(content)
    facts = read_facts(path)
    assert facts.reason == reason if reason else facts.reason
    assert words in facts.hint
    assert "DOE" not in facts.hint
    assert str(tmp_path) not in facts.hint
    assert facts.sha256 == hashlib.sha256(content).hexdigest()
    assert facts.picture.shape == (0, 0)


def test_a_folder_is_known_by_its_files(tmp_path: Path, cache: Cache) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    (folder / "DOE_1.dcm").write_bytes(b"nothing")
    first = known(survey_images([folder], cache=cache)[0])
    assert first.reason
    assert "DOE" not in first.hint
    (folder / "DOE_1.dcm").write_bytes(b"NOTHING")  # the folder itself does not change by this
    os.utime(folder / "DOE_1.dcm", (1, 1))  # both may be written in one tick of the disk's clock
    again = known(survey_images([folder], cache=cache)[0])
    assert again.sha256 != first.sha256


# memory --------------------------------------------------------------------------------------------------------------


def test_facts_come_in_the_order_of_the_paths_and_none_stays_none(films: list[Path], cache: Cache) -> None:
    asked = [films[2], None, films[0], films[2]]
    survey = survey_images(asked, cache=cache)
    assert len(survey) == 4
    assert [facts and facts.height for facts in survey] == [42, None, 40, 42]
    assert survey[-1] == survey[0] == read_facts(films[2])
    assert survey[1:3] == [None, read_facts(films[0])]
    brief = list(survey.brief())
    assert [facts and facts.sha256 for facts in brief] == [facts and facts.sha256 for facts in survey]
    assert not any(facts.thumbnail for facts in brief if facts)
    with pytest.raises(IndexError):
        survey[4]


def test_processes_find_what_one_finds(films: list[Path], tmp_path: Path) -> None:
    many = [*films, *(films * 4)]
    one = survey_images(many, cache=Cache(tmp_path / "one"))
    two = survey_images(many, cache=Cache(tmp_path / "two"), workers=2)
    assert list(one) == list(two)


def test_a_file_is_read_once_until_it_changes(films: list[Path], cache: Cache) -> None:
    before = list(survey_images(films, cache=cache))
    for path in films:
        forge(path)
    told: list[tuple[int, int]] = []
    assert list(survey_images(films, cache=cache, progress=lambda *numbers: told.append(numbers))) == before
    assert told == [(9, 9)]
    os.utime(films[4], (1, 1))
    after = survey_images(films, cache=cache)
    assert [facts == old for facts, old in zip(after, before, strict=True)] == [at != 4 for at in range(9)]
    assert known(after[4]).reason == "corrupt"


def test_other_code_reads_again(films: list[Path], cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    survey_images(films[:1], cache=cache)
    forge(films[0])
    assert not known(survey_images(films[:1], cache=cache)[0]).reason
    monkeypatch.setattr(module, "_version", lambda: "other")
    assert known(survey_images(films[:1], cache=cache)[0]).reason == "corrupt"


def test_what_tells_of_the_moment_is_not_remembered(films: list[Path], cache: Cache, tmp_path: Path) -> None:
    path = tmp_path / "late.png"
    assert known(survey_images([path], cache=cache)[0]).reason == "not_found"
    shutil.copy(films[0], path)
    assert not known(survey_images([path], cache=cache)[0]).reason


def test_progress_rises_to_the_number_of_files(films: list[Path], cache: Cache) -> None:
    told: list[tuple[int, int]] = []
    many = [None, *(films * 5)]
    survey_images(many, cache=cache, progress=lambda *numbers: told.append(numbers))
    assert told == [(0, 45), (16, 45), (32, 45), (45, 45)]


def test_a_survey_can_be_sent_to_another_process(films: list[Path], cache: Cache) -> None:
    survey = survey_images(films, cache=cache)
    sent: Survey = pickle.loads(pickle.dumps(survey))
    assert sent[3] == survey[3]


def test_hashes_are_there_for_training_too(films: list[Path], cache: Cache) -> None:
    from medvlp.data.contents import content_hashes

    survey = survey_images(films, cache=cache)
    for path in films:
        forge(path)
    assert content_hashes(list(films), cache=cache) == [known(facts).sha256 for facts in survey]


def test_the_memory_is_its_owners_and_a_lost_one_is_told(films: list[Path], cache: Cache) -> None:
    survey = survey_images(films, cache=cache)
    assert (cache.files / "survey.sqlite").stat().st_mode & 0o777 == 0o600
    database = sqlite3.connect(cache.files / "survey.sqlite")
    assert not any(str(films[0].parent) in str(row) for row in database.execute("SELECT * FROM facts"))
    database.close()
    clear_cache(cache)
    with pytest.raises(DataError, match=r"lost what was known of an image: it was cleared meanwhile.*start again"):
        pickle.loads(pickle.dumps(survey))[0]


# killed --------------------------------------------------------------------------------------------------------------


def rows(file: Path) -> dict[str, int]:
    """Row number of each path: a row that is written again gets another."""
    if not file.exists():
        return {}
    database = sqlite3.connect(file, timeout=60)
    try:
        return dict(database.execute("SELECT path, rowid FROM facts").fetchall())
    except sqlite3.OperationalError:
        return {}
    finally:
        database.close()


def children(pid: int) -> list[int]:
    task = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in task.read_text().split()] if task.exists() else []


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody asked about (Z) does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.pool
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the processes of a process are found in /proc")
def test_a_killed_index_goes_on_where_it_was_and_leaves_no_process(
    tmp_path: Path, cohort: Callable[..., Manifest]
) -> None:
    root = cohort(4).root
    (root / "t.csv").write_text("file\n" + "".join(f"{at}.png\n" for at in range(250)))
    large = root / "large.png"  # sixteen of them in one piece of work: it is killed while it looks at these
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (3000, 3000), dtype=np.uint8)).save(large)
    for at in range(4, 250):
        os.link(large if 64 <= at < 80 else root / f"{at % 4}.png", root / f"{at}.png")
    out, file = tmp_path / "m.parquet", tmp_path / "cache" / "contents" / "survey.sqlite"
    words = ["data", "index", "csv", str(root), "--out", str(out), "columns={image: file}", "--no-page"]
    command = [sys.executable, "-m", "medvlp", *words, "--workers", "2"]
    environment = {**os.environ, "MEDVLP_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    while process.poll() is None and len(rows(file)) < 32:
        time.sleep(0.005)
    workers = children(process.pid)
    process.kill()
    process.communicate()
    kept = rows(file)
    assert 32 <= len(kept) < 250
    assert workers
    assert not out.exists()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""  # quiet where nobody looks
    after = rows(file)
    assert len(after) == 250
    assert kept.items() <= after.items()
    assert len(Manifest.load(out)) == 250
    assert not any(alive(pid) for pid in workers)


def test_a_full_disk_is_one_sentence_and_what_was_looked_at_is_kept(
    films: list[Path], cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []

    def small(path: Path, table: str) -> sqlite3.Connection:
        database = open_database(path, table)
        database.execute("PRAGMA max_page_count = 6")
        return database

    monkeypatch.setattr(module, "_CHUNK", 1)
    with monkeypatch.context() as patched:
        patched.setattr(module, "open_database", small)
        with pytest.raises(UserError, match=r"^The disk of the cache .* is full: make room, or set MEDVLP_CACHE"):
            survey_images(films, cache=cache, progress=lambda done, total: told.append(done))
    done = told[-1]
    assert 0 < done < 9
    survey_images(films, cache=cache, progress=lambda done, total: told.append(done))
    assert told[told.index(done) + 1 :] == list(range(done, 10))  # none of the others is read again
