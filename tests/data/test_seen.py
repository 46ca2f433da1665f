"""What a bundle knows of its training: hashes that tell every record again and name none, whatever was done to it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medvlp.core.errors import DataError
from medvlp.data.joined import in_part, join_sets
from medvlp.data.leakage import Seen, seen_of
from medvlp.data.manifest import Manifest
from tests.data.films import compressed, cropped, film, inverted, write

COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "resized": lambda image: image.resize((64, 70)),
    "stretched": lambda image: image.resize((120, 120)),
    "compressed": lambda image: compressed(image, 40),
    "inverted": inverted,
    "all of it": lambda image: compressed(inverted(image).resize((110, 120)), 50),
}


def people(
    names: str, *, root: Path = Path(), layout: str = "openi", split: object = "test", **more: object
) -> Manifest:
    """Return one record a letter, each of the patient of that name."""
    splits = split if isinstance(split, list) else [split] * len(names)
    columns = {"id": list(names), "text": list(names), "id.patient": list(names), "split": splits}
    return Manifest.of({**columns, **more}, root=root, meta={"layout": layout})


def films(root: Path, names: list[str], *, split: str = "test", layout: str = "csv") -> Manifest:
    """Return one record a file, each of a patient named as it is."""
    columns = {"id": names, "image": names, "id.patient": names, "split": [split] * len(names)}
    return Manifest.of(columns, root=root, meta={"layout": layout})


def test_patients_are_found_as_by_comparing_their_names() -> None:
    draw = np.random.default_rng(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    for _ in range(20):
        train, held, judged = ("".join(sorted(draw.permutation(list(letters))[:8])) for _ in range(3))
        seen = seen_of({"train": people(train), "validate": people(held)}, salt="run")
        for parts, known in ((("train",), train), (("validate",), held), (("train", "validate"), train + held)):
            shared = sorted(set(judged) & set(known))
            found = seen.overlap(people(judged), parts=parts)
            assert found.found == ({"patient": len(shared)} if shared else {})
            assert (found.records, found.of, found.first) == (len(shared), 8, shared[0] if shared else "")


def test_a_hash_is_blake2b_under_the_key_and_no_name_is_kept() -> None:
    seen = seen_of({"train": people("a")}, salt="run")
    digest = hashlib.blake2b(b"patient openi:a", key=seen.key, digest_size=8).digest()
    assert seen.hashes["train.patient"].tolist() == [int.from_bytes(digest, "little")]
    assert seen.key == hashlib.blake2b(b"run", digest_size=16).digest()
    assert seen_of({"train": people("a")}, salt="other").hashes["train.patient"] != seen.hashes["train.patient"]


@pytest.mark.slow
def test_a_million_patients_are_eight_million_bytes() -> None:
    names = [f"{number:07d}" for number in range(1_000_000)]
    columns = {"id": names, "text": names, "id.patient": names, "split": ["train"] * len(names)}
    seen = seen_of({"train": Manifest.of(columns, root=Path(), meta={"layout": "openi"})}, salt="run")
    assert sum(array.nbytes for array in seen.to_arrays().values()) == 8_000_000
    assert seen.overlap(people("7", **{"id.patient": ["0000007"]})).found == {"patient": 1}
    assert seen.overlap(people("7", **{"id.patient": ["1000000"]})).found == {}


def test_a_number_is_a_patient_only_within_its_numbering() -> None:
    seen = seen_of({"train": people("ab", layout="csv")}, salt="run")
    for layout in ("image_folder", "hospital", "webdataset", "hugging_face"):  # parts of one cohort, perhaps
        assert seen.overlap(people("b", layout=layout)).found == {"patient": 1}
    assert seen.overlap(people("b", layout="nih_chestxray14")).found == {}
    named = people("b", layout="csv")
    named.meta["namespace"] = "elsewhere"
    assert seen.overlap(named).found == {}
    phantoms = [people("b", layout="phantom") for _ in range(2)]
    for seed, manifest in enumerate(phantoms):
        manifest.meta["seed"] = seed
    of_first = seen_of({"train": phantoms[0]}, salt="run")
    assert [of_first.overlap(each).found for each in phantoms] == [{"patient": 1}, {}]


def test_names_of_records_that_stand_for_patients_are_not_compared_but_files_are(tmp_path: Path) -> None:
    write(tmp_path, "a.png", film(0))
    by_id = films(tmp_path, ["a.png"], split="train")
    by_id.meta["patients_by"] = "id"
    seen = seen_of({"train": by_id}, salt="run")
    assert list(seen.hashes) == ["train.image"]
    joined = join_sets({"here": by_id, "there": in_part(people("b"), "train")})
    of_both = seen_of({"train": joined}, salt="run")
    assert len(of_both.hashes["train.patient"]) == 1
    assert of_both.overlap(people("b")).found == {"patient": 1}


def test_studies_tell_where_patients_are_not_known() -> None:
    columns = {"id": ["a", "b"], "text": ["x", "y"], "id.study": ["s", "t"], "split": ["test", "test"]}
    known = {**columns, "id.patient": [None, "p"]}
    seen = seen_of({"train": Manifest.of(known, root=Path(), meta={"layout": "openi"})}, salt="run")
    judged = Manifest.of({**columns, "id.study": ["s", "u"]}, root=Path(), meta={"layout": "openi"})
    assert seen.overlap(judged).found == {"study": 1}
    assert len(seen.hashes["train.study"]) == 1  # the other's patient says it already


def test_rows_without_a_split_take_no_part() -> None:
    seen = seen_of({"train": people("ab")}, salt="run")
    found = seen.overlap(people("ab", split=["test", None]))
    assert (found.found, found.records, found.first) == ({"patient": 1}, 1, "a")


def test_a_patient_of_both_parts_counts_once() -> None:
    assert seen_of({"train": people("ab"), "validate": people("bc")}, salt="run").count("patient") == 3


def test_a_file_is_the_same_wherever_it_lies(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    write(tmp_path, "a.png", film(0))
    (tmp_path / "there" / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    write(tmp_path / "there", "c.png", film(1))
    seen = seen_of({"train": films(tmp_path, ["a.png"], layout="openi")}, salt="run")
    found = seen.overlap(films(tmp_path / "there", ["b.png", "c.png", "gone.png"]))
    assert (found.found, found.first, found.counted()) == ({"image": 1}, "b.png", "1 image (1 of 3 records)")
    files = [tmp_path / "there" / name for name in ("b.png", "c.png", "none.png", "b.png")]
    assert seen.has_files(files) == [True, False, False, True]
    assert seen.has_files([]) == []


@pytest.fixture(scope="module")
def surveyed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Seen]:
    """Twenty-four films that a model was trained on, and their hashes, perceptual ones too."""
    root = tmp_path_factory.mktemp("surveyed")
    names = [write(root, f"{number}.png", film(number)) for number in range(24)]
    Image.new("L", (90, 90), 40).save(root / "blank.png")
    return root, seen_of({"train": films(root, [*names, "blank.png"], split="train")}, salt="run", near=True)


@pytest.mark.parametrize("kind", COPIES)
def test_every_copy_is_found_where_both_sides_were_surveyed(
    surveyed: tuple[Path, Seen], kind: str, tmp_path: Path
) -> None:
    _, seen = surveyed
    names = [write(tmp_path, f"{number}.png", COPIES[kind](film(number))) for number in range(24)]
    judged = films(tmp_path, names)
    assert seen.overlap(judged, near=True).found == {"near_image": 24, "patient": 24}
    assert seen.overlap(judged).found == {"patient": 24}


def test_the_same_pixels_in_another_container_are_the_same_image(surveyed: tuple[Path, Seen], tmp_path: Path) -> None:
    film(3).save(tmp_path / "other name.tif")
    assert surveyed[1].overlap(films(tmp_path, ["other name.tif"]), near=True).found == {"image": 1}


def test_other_films_and_blank_ones_are_no_copies(surveyed: tuple[Path, Seen], tmp_path: Path) -> None:
    names = [write(tmp_path, f"new {number}.png", film(number)) for number in range(100, 160)]
    Image.new("L", (90, 91), 40).save(tmp_path / "also blank.png")
    Image.new("L", (90, 90), 40).save(tmp_path / "same pixels.tif")
    judged = films(tmp_path, [*names, "also blank.png", "same pixels.tif"])
    assert surveyed[1].overlap(judged, near=True).found == {}


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("likeness", "copies"), [(0.97, {}), (0.99, {"near_image": 1})])
def test_hashes_are_of_one_film_from_an_inner_product_of_098(
    surveyed: tuple[Path, Seen], sign: int, likeness: float, copies: dict[str, int], tmp_path: Path
) -> None:
    write(tmp_path, "new.png", film(60))
    judged, seen = films(tmp_path, ["new.png"]), surveyed[1]
    own = seen_of({"train": judged}, salt="run", near=True, base=replace(seen, hashes={})).hashes["train.near"][0]
    own = own / np.linalg.norm(own)
    across = np.eye(64)[np.abs(own).argmin()]
    across = (across - own * (own @ across)) / np.linalg.norm(across - own * (own @ across))
    turned = sign * (likeness * own + np.sqrt(1 - likeness**2) * across)
    known = np.rint(127 * turned).astype(np.int8)[None]
    assert replace(seen, hashes={"train.near": known}).overlap(judged, near=True).found == copies


def test_a_record_without_a_picture_does_not_shift_whose_the_pictures_are(
    surveyed: tuple[Path, Seen], tmp_path: Path
) -> None:
    write(tmp_path, "copy.png", film(3).resize((64, 70)))
    columns = {"id": ["words", "shown"], "text": ["x", "y"], "image": [None, "copy.png"], "split": ["test"] * 2}
    found = surveyed[1].overlap(Manifest.of(columns, root=tmp_path), near=True)
    assert (found.found, found.records, found.first) == ({"near_image": 1}, 1, "shown")


def test_a_small_crop_is_still_a_copy(surveyed: tuple[Path, Seen], tmp_path: Path) -> None:
    names = [write(tmp_path, f"cut {n}.png", cropped(film(n), 0.007, 0.0, 0.0, 0.007)) for n in range(24)]
    assert surveyed[1].overlap(films(tmp_path, names), near=True).found == {"near_image": 24}


def test_what_a_model_started_from_stays_known(surveyed: tuple[Path, Seen], tmp_path: Path) -> None:
    _, base = surveyed
    write(tmp_path, "new.png", film(50))
    seen = seen_of({"train": films(tmp_path, ["new.png"])}, salt="other", near=True, base=base)
    assert (seen.key, seen.count("image"), seen.complete) == (base.key, 26, True)
    copies = [write(tmp_path, f"{n}.jpg", compressed(film(n), 60)) for n in (0, 50)]
    found = seen.overlap(films(tmp_path, copies), near=True)
    assert (found.found, found.records) == ({"near_image": 2}, 2)
    assert not seen_of({"train": people("a")}, salt="run", knows_base=False).complete
    assert not seen_of({"train": people("a")}, salt="run", base=replace(base, complete=False)).complete
    unsurveyed = seen_of({"train": people("a")}, salt="run")
    assert seen_of({"train": films(tmp_path, ["new.png"])}, salt="", near=True, base=unsurveyed).hasher is not None
    with pytest.raises(DataError, match="under two keys cannot be put together"):
        replace(seen, key=b"k").joined(base)


def test_it_is_read_back_as_it_was_and_another_schema_is_refused(surveyed: tuple[Path, Seen]) -> None:
    _, seen = surveyed
    again = Seen.of(seen.to_plain(), seen.to_arrays())
    assert (again.key, again.complete) == (seen.key, seen.complete)
    assert all(np.array_equal(again.hashes[name], values) for name, values in seen.hashes.items())
    assert np.array_equal(again.hasher, seen.hasher)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"training data have the schema 'medvlp\.seen/9', not 'medvlp\.seen/1'"):
        Seen.of({**seen.to_plain(), "schema": "medvlp.seen/9"}, {})
