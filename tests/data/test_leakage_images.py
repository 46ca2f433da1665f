"""Copies of films: found whatever was done to them, and nothing else."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medvlp.data.cache import Cache
from medvlp.data.leakage import Leak, check_split, near_is_quick
from medvlp.data.leakage.check import check_cohorts
from medvlp.data.leakage.hashes import cosines, crops, fit_hasher, nearest_and_like
from medvlp.data.leakage.registration import register
from medvlp.data.manifest import Manifest
from tests.data.films import compressed, cropped, film, inverted, write

MADE = {
    "resized": lambda image: image.resize((64, 70)),
    "stretched": lambda image: image.resize((120, 120)),
    "compressed": lambda image: compressed(image, 40),
    "inverted": inverted,
    "cropped": lambda image: cropped(image, 0.05, 0.0, 0.0, 0.05),
    "cropped all round": lambda image: cropped(image, 0.05, 0.05, 0.05, 0.05),
    "all": lambda image: compressed(inverted(cropped(image, 0.02, 0.05, 0.05, 0.01)).resize((110, 120)), 50),
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Twenty films in training, twelve others in the test, and a copy of films 0, 1, 2 ... for each way to make one."""
    root = tmp_path_factory.mktemp("films")
    names = [write(root, f"{number}.png", film(number)) for number in range(32)]
    splits = ["train"] * 20 + ["test"] * 12
    for number, (kind, make) in enumerate(MADE.items()):
        names.append(write(root, f"{kind}.png", make(film(number))))
        splits.append("test")
    return Manifest.of({"id": names, "image": names, "split": splits}, root=root)


@pytest.fixture(scope="module")
def found(planted: Manifest) -> dict[str, Leak]:
    """What the check finds, by the test record."""
    return {leak.b: leak for leak in check_split(planted, near=True)}


def test_what_was_compared_is_remembered_for_the_same_films_on_the_same_sides(
    planted: Manifest, found: dict[str, Leak], cache: Cache
) -> None:
    told = []

    def tell(done: int, total: int, note: str = "") -> None:
        told.append((done, total))

    first = check_split(planted, near=True, progress=tell)
    pairs = told[-1]
    again = check_split(planted, near=True, progress=tell)
    assert first == again == list(found.values())
    assert told.count(pairs) == 1
    assert pairs[0] == pairs[1] != len(planted)
    sides = {"train": "test", "test": "train"}
    turned = planted.with_column("split", [sides[each] for each in planted.column("split")])
    assert len(check_split(turned, near=True, progress=tell)) == len(first)
    assert told.count(pairs) == 2


@pytest.mark.parametrize("kind", MADE)
def test_a_copy_is_found_with_its_film_alone(found: dict[str, Leak], kind: str) -> None:
    leak = found[f"{kind}.png"]
    assert (leak.kind, leak.a, leak.split_a, leak.split_b) == (
        "near_image",
        f"{list(MADE).index(kind)}.png",
        "train",
        "test",
    )
    assert ("negative" in leak.detail) == (kind in ("inverted", "all"))
    left = {"cropped": (0.95, 0.95), "cropped all round": (0.9, 0.9), "all": (0.94, 0.93)}  # of height and width
    shown = [float(word) for pair in re.findall(r"shown at (\S+) and (\S+) times", leak.detail) for word in pair]
    assert shown == pytest.approx([1 / part for part in left.get(kind, ())], abs=0.02)


def test_other_films_are_no_copies(found: dict[str, Leak]) -> None:
    assert set(found) == {f"{kind}.png" for kind in MADE}


def test_the_same_pixels_in_another_file_are_the_same_image(tmp_path: Path) -> None:
    image = film(1)
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "b.png", compress_level=0)
    image.save(tmp_path / "c.tif")
    names = ["a.png", "b.png", "c.tif"]
    manifest = Manifest.of({"id": names, "image": names, "split": ["train", "test", "validate"]}, root=tmp_path)
    assert check_split(manifest) == []  # the bytes differ
    leaks = check_split(manifest, near=True)
    assert {leak.kind for leak in leaks} == {"image"}
    assert [(leak.a, leak.b) for leak in leaks] == list(combinations(names, 2))
    assert {leak.detail for leak in leaks} == {"same pixels, other files"}


def test_empty_pictures_are_not_copies_of_each_other(tmp_path: Path) -> None:
    for number, level in enumerate((0, 0, 90)):
        Image.new("L", (40, 40), level).save(tmp_path / f"{number}.png", compress_level=number)
    names = ["0.png", "1.png", "2.png"]
    columns = {"id": names, "image": names, "split": ["train", "test", "test"]}
    checked = check_cohorts([Manifest.of(columns, root=tmp_path)])
    assert checked.leaks == ()
    assert [note.facts for note in checked.notes if note.kind == "blank"] == [{"images": 3}]


def test_several_copies_of_one_film_do_not_hide_each_other(tmp_path: Path) -> None:
    names = [write(tmp_path, f"{number}.png", film(number)) for number in range(3)]
    copies = [write(tmp_path, f"{kind}.png", make(film(0))) for kind, make in MADE.items()]
    splits = ["train"] * 3 + ["test"] * len(copies)
    columns = {"id": [*names, *copies], "image": [*names, *copies], "split": splits}
    leaks = check_split(Manifest.of(columns, root=tmp_path), near=True)
    assert {(leak.a, leak.b) for leak in leaks} == {("0.png", copy) for copy in copies}


def test_pictures_that_are_all_alike_are_no_copies_but_a_copy_among_them_is(tmp_path: Path) -> None:
    shared = np.asarray(film(100), dtype=float)

    def alike(number: int) -> Image.Image:
        return Image.fromarray(np.rint(0.62 * shared + 0.38 * np.asarray(film(number))).astype(np.uint8))

    names = [write(tmp_path, f"{number}.png", alike(number)) for number in range(20)]
    names.append(write(tmp_path, "copy.png", compressed(alike(3), 40)))
    pictures = {number: np.asarray(alike(number)) for number in range(20)}
    pairs = np.array(list(combinations(range(20), 2)))
    reached = register(pictures, pairs, np.ones(len(pairs))).correlation
    assert (reached > 0.64).sum() > 20, "many pairs must be asked for their likes"
    manifest = Manifest.of({"id": names, "image": names, "split": ["train"] * 10 + ["test"] * 11}, root=tmp_path)
    assert [(leak.a, leak.b) for leak in check_split(manifest, near=True)] == [("3.png", "copy.png")]


def exposure(number: int, *, share: float = 0.6) -> Image.Image:
    """One of several films of a patient: a share of each is the same."""
    both = (share, film(0)), (1 - share, film(number))
    return Image.fromarray(np.rint(sum(part * np.asarray(each, float) for part, each in both)).astype(np.uint8))


def near_pairs(root: Path, made: dict[str, tuple[Image.Image, str, str | None]]) -> list[tuple[str, str]]:
    """Which of these (picture, split, patient) are found as copies, among twelve films of other patients."""
    made = {**{f"{n}.png": (film(n), "train" if n % 2 else "test", f"other {n}") for n in range(20, 32)}, **made}
    for name, (picture, *_) in made.items():
        write(root, name, picture)
    splits, patients = ([each[part] for each in made.values()] for part in (1, 2))
    columns = {"id": [*made], "image": [*made], "split": splits, "id.patient": patients}
    leaks = check_split(Manifest.of(columns, root=root), near=True)
    return [(leak.a, leak.b) for leak in leaks if leak.kind == "near_image"]


def test_of_one_patients_exposures_more_is_asked_than_of_films_whose_patient_nobody_knows(tmp_path: Path) -> None:
    pictures = {"a.png": (exposure(200), "train"), "b.png": (exposure(201), "test")}
    reached = register(
        {n: np.asarray(each) for n, (each, _) in enumerate(pictures.values())}, np.array([[0, 1]]), np.ones(1)
    )
    assert 0.76 < reached.correlation[0] < 0.82
    one, unknown = ({name: (*each, who) for name, each in pictures.items()} for who in ("p", None))
    assert near_pairs(tmp_path, one) == []
    assert near_pairs(tmp_path, unknown) == [("a.png", "b.png")]


def test_a_patients_other_exposures_do_not_hide_a_copy_of_one(tmp_path: Path) -> None:
    made = {f"e{n}.png": (exposure(n, share=0.57), "train", "p") for n in range(200, 205)}
    copy = compressed(exposure(200, share=0.57).resize((70, 70)), 40)
    assert ("e200.png", "copy.png") in near_pairs(tmp_path, {**made, "copy.png": (copy, "test", "q")})


def test_processes_find_what_one_finds(planted: Manifest, found: dict[str, Leak], cache: Cache) -> None:
    assert {leak.b: leak for leak in check_split(planted, near=True, workers=2)} == found


def test_copies_are_looked_for_at_once_where_a_survey_was_made(planted: Manifest, cache: Cache) -> None:
    assert not near_is_quick(planted)
    check_split(planted, near=True)
    assert near_is_quick(planted)
    assert not near_is_quick(Manifest.of({"id": ["a"], "text": ["x"], "split": ["train"]}, root=Path()))


# the parts -----------------------------------------------------------------------------------------------------------


def test_a_hash_knows_neither_size_nor_stretch_and_changes_sign_with_the_negative() -> None:
    image = film(3)
    features = cosines([np.asarray(each) for each in (image, image.resize((300, 90)), inverted(image), film(4))])
    likeness = features @ features[0]
    assert likeness[1] > 0.98
    assert likeness[2] == pytest.approx(-1, abs=1e-6)
    assert abs(likeness[3]) < 0.8
    assert not cosines([np.full((20, 20), 7, np.uint8)]).any()


def test_a_learnt_hash_moves_less_with_crops_than_between_pictures() -> None:
    pictures = [np.asarray(film(number)) for number in range(40)]
    features, draw = cosines(pictures), np.random.Generator(np.random.Philox(0))
    cropped_ = np.stack([crops(picture, draw, count=10) for picture in pictures])
    hasher = fit_hasher(features, np.arange(40), cropped_)
    hashes, moved = hasher(features), hasher(cropped_.reshape(-1, features.shape[1])).reshape(40, 10, -1)
    own = np.abs((moved * hashes[:, None]).sum(axis=2))
    others = np.abs(hashes @ hashes.T)[np.triu_indices(40, 1)]
    assert own.min() > others.max()
    assert np.linalg.norm(hashes, axis=1) == pytest.approx(np.ones(40), abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_blocks_propose_what_the_whole_table_proposes(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr("medvlp.data.leakage.hashes._BLOCK", 7)
    draw = np.random.Generator(np.random.Philox(seed))
    hashes = draw.standard_normal((60, 3)).astype(np.float32)
    hashes /= np.linalg.norm(hashes, axis=1, keepdims=True)
    sides, things = draw.integers(0, 4, 60), draw.integers(0, 50, 60)
    table = np.abs(hashes @ hashes.T)
    table[(sides[:, None] == sides) | (things[:, None] == things)] = 0
    wanted = {(a, b) for a, b in np.argwhere(table >= 0.9).tolist() if a < b}
    wanted |= {(min(a, b), max(a, b)) for a, b in enumerate(table.argmax(axis=1).tolist())}
    got = {
        tuple(sorted(pair))
        for a, b in nearest_and_like(hashes, sides, things=things, like=0.9)
        for pair in zip(a.tolist(), b.tolist(), strict=True)
    }
    assert got == wanted


def test_registration_finds_where_a_crop_was_taken() -> None:
    image = film(5, height=160, width=160)
    pictures = {0: np.asarray(image), 1: np.asarray(inverted(cropped(image, 0.05, 0.025, 0.0, 0.05)))}
    found = register(pictures, np.array([[0, 1]]), np.array([-1.0]))
    assert found.correlation[0] > 0.95
    # A window from u to v of a unit axis is stretched by 1 / (v - u) and shifted by the distance of the centres.
    rows, columns = (1 / (0.95 - 0.025), 0.5 - (0.025 + 0.95) / 2), (1 / 0.95, 0.5 - (0.05 + 1) / 2)
    expected = [rows[0], rows[0] * rows[1], columns[0], columns[0] * columns[1]]
    assert found.placement[0] == pytest.approx(expected, abs=0.01)
    other = {0: pictures[0], 1: np.asarray(film(6))}
    assert register(other, np.array([[0, 1]]), np.array([1.0]), give_up=False).correlation[0] < 0.3
    assert register(other, np.array([[0, 1]]), np.array([1.0])).correlation[0] in (0, pytest.approx(0, abs=0.3))
