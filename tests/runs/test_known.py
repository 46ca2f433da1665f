"""A model is not judged on what it was trained on without a word; on others, and on its own test part, it is."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
import yaml

from medvlp.answers.asking.files import predict_files
from medvlp.answers.asking.model import load
from medvlp.config.tree import check_config
from medvlp.core.errors import DataError
from medvlp.core.files import sha256_of
from medvlp.data.leakage.check import check_cohorts
from medvlp.data.leakage.seen import Seen
from medvlp.models.bundle import load_bundle, load_seen, save_bundle
from medvlp.runs.evaluate import EvaluationRun, evaluate, judged_manifest, open_evaluation
from medvlp.runs.known import UNKNOWN, compare_with_training
from medvlp.runs.train import Trained, train
from tests.data.films import compressed, film, inverted, write
from tests.messages import messages
from tests.tiny import tiny_tree

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary

COLUMNS = {"image": "file", "text": "note", "id.patient": "who", "split": "part", "label.effusion": "effusion"}
PARTS = ["train"] * 16 + ["validate"] * 4 + ["test"] * 8


def write_cohort(root: Path, first: int, parts: list[str]) -> Path:
    """Write films from a number on, one a patient of that number, every other with an effusion."""
    root.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, part in enumerate(parts, first):
        seen = number % 2
        note = f"{'Small' if seen else 'No'} effusion. Study {'one' if number % 3 else 'two'} of the heart."
        rows.append((write(root, f"{number}.png", film(number)), note, f"p{number}", part, seen))
    pd.DataFrame(rows, columns=["file", "note", "who", "part", "effusion"]).to_csv(root / "films.csv", index=False)
    return root


def read(root: Path, **more: Any) -> dict[str, Any]:
    layout = {"name": "csv", "table": "films.csv", "columns": COLUMNS}
    return {"root": str(root), "layout": layout, "cache": str(root.parent / "cache"), **more}


def tree(run: Path, root: Path, **data: Any) -> dict[str, Any]:
    made = tiny_tree(run, root, run.parent / "cache")
    made["data"] = {**read(root), "prefix": [{"name": "read", "size": 32}], **data}
    made["phases"] = [{"until": 16, "objectives": [{"name": "clip"}]}]
    made["training"] |= {"validate_every": 16, "checkpoint_every": 16}
    return made


def judging(bundle: Path, out: Path, data: dict[str, Any], **options: Any) -> EvaluationRun:
    asked = {"resamples": 100, "min_positives": 1, "gallery": 0, **options}
    return EvaluationRun.model_validate({"model": str(bundle), "out": str(out), "data": data, "evaluation": asked})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run on 28 films, 16 of them for training and 4 for validation, whose near copies were looked for."""
    folder = tmp_path_factory.mktemp("known")
    root = write_cohort(folder / "films", 0, PARTS)
    return train(check_config(tree(folder / "run", root, near_images=True), source="test"))


@pytest.fixture
def films(run: Trained) -> Path:
    return run.run.parent / "films"


def compared(run: Trained, data: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Return what is kept of the comparison that an evaluation begins with."""
    config = judging(run.bundle, Path("unused"), data, **options)
    manifest = judged_manifest(config.data, config.evaluation)[1]
    seen = load_seen(run.bundle)
    return compare_with_training(seen, manifest, data=config.data, options=config.evaluation)


def test_a_run_is_judged_on_its_own_test_part_in_silence_and_the_page_says_what_was_compared(
    run: Trained, films: Path, tmp_path: Path
) -> None:
    with messages() as told:
        done = evaluate(judging(run.bundle, tmp_path / "out", read(films, near_images=True)))
    assert told == []
    assert all(result.caveats == () for result in done.found.values())
    noted = json.loads((tmp_path / "out" / "evaluation.json").read_text())["data"]["leaks"]["model"]
    assert noted == {
        "known": "all", "caveats": [], "found": {}, "patients": 20, "images": 20, "near_images": True,
    }  # fmt: skip
    words = "No judged patient or file, nor a near copy of one, is among the 20 patients and 20 files"
    assert words in done.page.read_text()


def test_the_bundle_names_nobody(run: Trained) -> None:
    for path in run.bundle.rglob("*"):
        if path.is_file():
            assert b"17.png" not in path.read_bytes()
            assert path.suffix == ".safetensors" or b"p17" not in path.read_bytes()
    assert "seen.safetensors" in (run.bundle / "MANIFEST.sha256").read_text()


@pytest.mark.parametrize("part", ["train", "validate", "test"])
def test_training_patients_are_refused_under_any_name_of_the_part(run: Trained, films: Path, part: str) -> None:
    with pytest.raises(DataError) as refused:
        compared(run, read(films, part=part), split=part)
    assert refused.value.exit_code == 2
    count = "16 patients, 16 images (16" if part == "validate" else "20 patients, 20 images (20"
    assert str(refused.value) == (
        f"The model was trained or chosen on {count} of 28 records) of the part {part!r} that is judged, the first is "
        "'0.png': judge other patients, or a part that was held out, or set data.allow_leaks=true "
        "(medvlp adapt: --allow-leaks) and results will be marked."
    )


def test_what_is_let_pass_is_marked_in_every_result_and_on_the_page(run: Trained, films: Path, tmp_path: Path) -> None:
    config = judging(run.bundle, tmp_path / "out", read(films, part="test", where={"id.patient": ["p3", "p24"]}))
    with pytest.raises(DataError, match=r"chosen on 1 patient, 1 image \(1 of 2 records\)"):
        evaluate(config)
    assert not (tmp_path / "out").exists()
    allowed = config.model_copy(update={"data": config.data.model_copy(update={"allow_leaks": True})})
    done = evaluate(allowed)
    caveat = (
        "The model was trained or chosen on 1 patient, 1 image (1 of 2 records) of what is judged, and is judged on "
        "them all the same: numbers on them are too good."
    )
    assert done.found
    assert all(caveat in result.caveats for result in done.found.values())
    assert caveat in done.page.read_text()


def test_of_the_part_validate_it_is_known_that_models_are_chosen_on_it(run: Trained, films: Path) -> None:
    found = compared(run, read(films), split="validate", fit=None)
    assert found["found"] == {}
    assert found["caveats"] == [
        "The model was chosen on 4 patients, 4 images (4 of 4 records) of what is judged: numbers on them are too good."
    ]


def test_thresholds_that_are_chosen_on_training_patients_are_told(run: Trained, films: Path, tmp_path: Path) -> None:
    root = write_cohort(tmp_path / "other", 40, ["test"] * 6)
    sets = {"ours": read(films, part="validate"), "theirs": read(root, part="test")}
    for each in sets.values():
        each.pop("cache")
    found = compared(run, {"sets": sets})
    assert found["caveats"] == [
        "Thresholds and calibrations are chosen on the part validate, and the model was trained on 16 patients, 16 "
        "images (16 of 28 records) of it: they are too confident."
    ]


def test_files_and_copies_under_other_patients_are_refused(run: Trained, films: Path, tmp_path: Path) -> None:
    root = write_cohort(tmp_path / "other", 40, ["test"] * 8)
    assert compared(run, read(root, near_images=True))["found"] == {}
    (root / "41.png").write_bytes((films / "3.png").read_bytes())
    with pytest.raises(DataError, match=r"on 1 image \(1 of 8 records\) of the part 'test'"):
        compared(run, read(root, near_images=False))
    write(root, "41.png", compressed(inverted(film(18)).resize((120, 130)), 60))
    assert compared(run, read(root, near_images=False))["found"] == {}
    with pytest.raises(DataError, match=r"on 1 near copy of an image \(1 of 8 records\) of the part 'test'"):
        compared(run, read(root, near_images=True))


def test_patients_that_are_only_numbered_alike_are_told_apart_by_a_name(run: Trained, tmp_path: Path) -> None:
    root = write_cohort(tmp_path / "other", 40, ["test"] * 4)
    table = pd.read_csv(root / "films.csv")
    table["who"] = ["p0", "p1", "p2", "p3"]
    table.to_csv(root / "films.csv", index=False)
    with pytest.raises(DataError, match=r"on 4 patients .* set data\.namespace where patient numbers here mean other"):
        compared(run, read(root))
    assert compared(run, read(root, namespace="elsewhere"))["caveats"] == []


def test_a_bundle_that_does_not_know_says_so_in_results_and_page(run: Trained, films: Path, tmp_path: Path) -> None:
    save_bundle(tmp_path / "b", replace(load_bundle(run.bundle), seen=None))
    config = judging(tmp_path / "b", tmp_path / "out", read(films, part="test"))
    done = evaluate(config)
    assert all(result.caveats == (UNKNOWN,) for result in done.found.values())
    assert UNKNOWN in html.unescape(done.page.read_text())
    # Bundles of earlier versions do not even say that they do not know.
    described = yaml.safe_load((tmp_path / "b" / "bundle.yaml").read_text())
    del described["seen"]
    (tmp_path / "b" / "bundle.yaml").write_text(yaml.safe_dump(described))
    files = sorted(path for path in (tmp_path / "b").rglob("*") if path.is_file() and path.name != "MANIFEST.sha256")
    lines = [f"{sha256_of(path)}  {path.relative_to(tmp_path / 'b').as_posix()}\n" for path in files]
    (tmp_path / "b" / "MANIFEST.sha256").write_text("".join(lines))
    assert load_bundle(tmp_path / "b").seen is None


def test_hashes_can_be_left_out_and_a_model_that_starts_from_such_a_bundle_says_what_is_not_known(
    films: Path, run: Trained, tmp_path: Path
) -> None:
    made = tree(tmp_path / "run", films, hashes=False)
    made["phases"][0]["until"] = 8
    first = train(check_config(made, source="test"))
    assert load_seen(first.bundle) is None
    other = write_cohort(tmp_path / "other", 40, PARTS)
    words = {"vocab_size": 512, "max_length": 48}
    known = tree(tmp_path / "known", other) | {"init_from": str(run.bundle), "tokenizer": words}
    unknown = tree(tmp_path / "unknown", other) | {"init_from": str(first.bundle), "tokenizer": words}
    for each in (known, unknown):
        each["phases"][0]["until"] = 8
    second, third = (train(check_config(each, source="test")) for each in (known, unknown))
    with pytest.raises(DataError, match="trained or chosen on 20 patients, 20 images"):
        compared(second, read(films, part="test"))
    found = compared(third, read(films, part="test"))
    assert found["known"] == "part"
    assert [text[:68] for text in found["caveats"]] == [
        "Not known whether the judged patients were in the training of the bu"
    ]


def test_patients_that_calibrate_a_bundle_are_known_to_it(run: Trained, tmp_path: Path) -> None:
    root = write_cohort(tmp_path / "other", 40, ["validate"] * 24 + ["test"] * 24)
    save_bundle(tmp_path / "b", load_bundle(run.bundle))
    evaluate(judging(tmp_path / "b", tmp_path / "out", read(root), into_bundle=True), page=False)
    with pytest.raises(DataError, match=r"chosen on 24 patients, 24 images \(24 of 48 records\)"):
        open_evaluation(judging(tmp_path / "b", tmp_path / "out", read(root, part="test")))
    open_evaluation(judging(tmp_path / "b", tmp_path / "out", read(root)))


def test_the_same_hospital_by_two_layouts_is_recognised_by_its_files(
    tiny_run: Trained, tiny_cohort: CohortSummary, tmp_path: Path
) -> None:
    layout = {"name": "hospital", "images": "dicom", "key_file": str(tmp_path / "key")}
    data = {"root": str(tiny_cohort.root), "layout": layout, "part": "test"}
    with pytest.raises(DataError, match=r"trained or chosen on \d+ images \(\d+ of \d+ records\) of the part 'test'"):
        compared(tiny_run, data)
    own = {"root": str(tiny_cohort.root), "layout": "phantom"}
    assert compared(tiny_run, own)["caveats"] == []


def test_a_record_without_a_study_is_a_study_of_its_own(tmp_path: Path) -> None:
    def studies(**columns: list[str | None]) -> list[str]:
        rows = pd.DataFrame({"name": list("abcd"), "note": "No effusion.", "who": list("ABCA"), **columns})
        rows.to_csv(tmp_path / "notes.csv", index=False)
        names = {"id": "name", "text": "note", "id.patient": "who", **{f"id.{name}": name for name in columns}}
        config = judging(tmp_path, Path("unused"), {"root": str(tmp_path), "layout": {"name": "csv", "columns": names}})
        return judged_manifest(config.data, config.evaluation)[0].column("id.study").tolist()

    assert studies() == ["a", "b", "c", "d"]
    assert studies(study=["S1", None, None, "S1"]) == ["S1", "b", "c", "S1"]
    assert studies(study=["S1", None, None, "b"]) == ["S1", "record b", "c", "b"]  # two patients, two studies


def test_predictions_of_a_training_file_say_that_it_is_one(
    run: Trained, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "elsewhere.png"
    other.write_bytes((films / "3.png").read_bytes())
    looked, has_files = [], Seen.has_files

    def counted(seen: Seen, paths: Sequence[Path]) -> list[bool]:
        looked.append(len(paths))
        return has_files(seen, paths)

    monkeypatch.setattr(Seen, "has_files", counted)
    found = predict_files(load(run.bundle), [films / "24.png", other, films / "25.png"])["results"]
    told = "the model was trained or chosen on this very file: what it says of it is no test of the model"
    assert [told in each["warnings"] for each in found] == [False, True, False]
    assert looked == [3]  # once for all: each look-up goes through all hashes of the training data


def test_the_check_of_two_manifests_agrees(run: Trained, films: Path) -> None:
    config = judging(run.bundle, Path("unused"), read(films, part="test"))
    manifest = judged_manifest(config.data, config.evaluation)[0]
    trained = run.manifest.where({"split": ["train", "validate"]})
    leaks = check_cohorts([trained, manifest], near=False).leaks
    assert {leak.kind for leak in leaks} == {"patient", "image"}
    assert sum(leak.kind == "patient" for leak in leaks) == 20
