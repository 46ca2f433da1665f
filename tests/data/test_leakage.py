"""Identifiers, reports, shortcuts and overlaps on two sides of one or several manifests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from unicodedata import normalize

import numpy as np
import pytest

from medvlp.core.errors import ConfigError, DataError
from medvlp.data.leakage import KINDS, Leak, counts_of, refuse_leaks
from medvlp.data.leakage.check import Checked, check_cohorts
from medvlp.data.leakage.notes import ADVICE
from medvlp.data.leakage.rows import rows_of
from medvlp.data.leakage.shortcuts import associations, shortcut_notes
from medvlp.data.leakage.tables import open_cohort
from medvlp.data.leakage.texts import content_words, is_abnormal
from medvlp.data.manifest import Manifest
from medvlp.data.text_table import parse_columns
from tests.data.films import film, write


def manifest(**columns: Sequence[object]) -> Manifest:
    named = {name.replace("__", "."): list(values) for name, values in columns.items()}
    count = len(next(iter(named.values())))
    return Manifest.of({"id": [f"r{n}" for n in range(count)], "text": [None] * count, **named}, root=Path())


def kinds(found: Checked) -> list[tuple[str, str, str]]:
    return [(leak.kind, leak.split_a, leak.split_b) for leak in found.leaks]


# sides ---------------------------------------------------------------------------------------------------------------


def test_manifests_without_splits_are_sides_of_their_own() -> None:
    train, test = manifest(id__patient=["p", "q"]), manifest(id__patient=["q", "z"])
    found = check_cohorts([train, test], names=["train", "test"])
    assert found.leaks == (Leak("patient", "r1", "r0", "train", "test"),)
    assert check_cohorts([train, test], names=["train", "test"], separate=True).leaks == ()


def test_training_parts_of_two_sets_may_share_patients_and_other_parts_may_not() -> None:
    one = manifest(id__patient=["p", "q"], split=["train", "test"])
    two = manifest(id__patient=["p", "q"], split=["train", "train"])
    assert kinds(check_cohorts([one, two], names=["a", "b"])) == [("patient", "a:test", "b:train")]


def test_public_data_sets_number_their_patients_apart() -> None:
    def of(layout: str) -> Manifest:
        return Manifest.of({"id": ["1"], "text": ["x"], "id.patient": ["1"]}, root=Path(), meta={"layout": layout})

    def shared(*layouts: str) -> int:
        return len(check_cohorts([of(layout) for layout in layouts], names=list("ab")).leaks)

    assert shared("nih_chestxray14", "chexpert") == 0
    assert shared("nih_chestxray14", "nih_chestxray14") == 1
    assert shared("csv", "") == 1
    # Made of another's images, with that one's numbers.
    for layout, of_whom in (
        ("ms_cxr", "mimic_cxr"), ("rsna_pneumonia", "nih_chestxray14"), ("chestx_det", "nih_chestxray14")
    ):  # fmt: skip
        assert shared(layout, of_whom) == 1


def test_a_record_without_a_side_leaks_nothing() -> None:
    assert check_cohorts([manifest(id__patient=["p", "p", "q"], split=["train", None, "test"])]).leaks == ()


def test_each_two_sides_are_told_once_for_each_patient() -> None:
    sides = ["train", "train", "validate", "test", "test"]
    found = check_cohorts([manifest(id__patient=["p"] * 5, id__study=["s"] * 5, split=sides)])
    pairs = [("train", "validate"), ("train", "test"), ("validate", "test")]
    assert kinds(found) == [("patient", *pair) for pair in pairs] + [("study", *pair) for pair in pairs]


def test_equal_paths_are_one_image_where_files_are_not_at_hand() -> None:
    table = manifest(image=["a.png", "b.png", "a.png"], split=["train", "train", "test"])
    for images in (True, False):
        assert kinds(check_cohorts([table], images=images)) == [("image", "train", "test")]
    notes = check_cohorts([table]).notes
    assert [note.facts for note in notes if note.kind == "unreadable"] == [{"not_found": 3}]


def test_the_refusal_counts_each_kind_and_says_how_to_mend_it() -> None:
    leaks = [Leak("near_image", "a", "b", "train", "test"), Leak("patient", "c", "d", "train", "test")]
    sentence = r"\(1 by patient, 1 by near_image\): records 'a' in train and 'b' in test share the same near_image"
    with pytest.raises(DataError, match=sentence):
        refuse_leaks(leaks)
    with pytest.raises(DataError, match=r"lists all\), or set x=true\."):
        refuse_leaks(leaks, allow="set x=true")
    assert list(counts_of(leaks)) == ["patient", "near_image"]
    assert set(KINDS) <= set(ADVICE)


def test_patients_that_are_not_named_are_a_note() -> None:
    assert [note.facts for note in check_cohorts([manifest(split=["train", "test"])]).notes] == [{"records": 2}]


# reports -------------------------------------------------------------------------------------------------------------

ABNORMAL = (
    "Moderate right pleural effusion with adjacent compressive atelectasis of the lower lobe. A central venous "
    "catheter ends in the superior vena cava. The cardiac silhouette is enlarged."
)
NORMAL = (
    "The cardiac silhouette and mediastinal contours appear normal. Both lungs are clear without focal airspace "
    "consolidation. No pleural effusion or pneumothorax. Osseous structures are intact."
)


def of_texts(texts: Sequence[str], studies: Sequence[str] | None = None) -> Checked:
    sides = ["train", *["test"] * (len(texts) - 1)]
    columns = {"id__patient": [f"p{n}" for n in range(len(texts))], "text": texts, "split": sides}
    return check_cohorts([manifest(**columns, **({"id__study": studies} if studies else {}))])


def test_a_long_abnormal_report_of_few_studies_leaks() -> None:
    found = of_texts([ABNORMAL, f"  {ABNORMAL.upper()} "])
    assert kinds(found) == [("report_text", "train", "test")]
    assert found.notes == ()


def test_twelve_words_of_three_studies_leak_and_eleven_do_not() -> None:
    twelve = "Moderate right pleural effusion, adjacent atelectasis, enlarged heart, central venous catheter, fracture."
    assert content_words(twelve) == 12
    assert {leak.kind for leak in of_texts([twelve] * 3).leaks} == {"report_text"}
    assert of_texts([twelve.replace("adjacent ", "")] * 3).leaks == ()


@pytest.mark.parametrize(
    "texts",
    [
        [NORMAL] * 2,
        [ABNORMAL] * 4,
        ["Moderate right pleural effusion."] * 2,
        ["Лёгкие без очаговых изменений."] * 2,
        ["Οι πνεύμονες είναι καθαροί.", normalize("NFD", "Οι πνεύμονες είναι καθαροί.")],
        ["双肺清晰。"] * 2,
    ],
    ids=["normal", "four studies", "short", "Cyrillic", "Greek, accents apart", "Chinese"],
)
def test_reports_that_repeat_everywhere_are_a_note(texts: list[str]) -> None:
    found = of_texts(texts)
    assert found.leaks == ()
    assert [(note.kind, note.facts["repeated"]) for note in found.notes] == [("repeated_text", 1)]


def test_images_of_one_study_count_once() -> None:
    assert "report_text" in {leak.kind for leak in of_texts([ABNORMAL] * 5, ["s", "t", "t", "t", "t"]).leaks}


def test_only_what_is_there_makes_a_report_abnormal() -> None:
    assert content_words(NORMAL) >= 12
    assert is_abnormal(ABNORMAL)
    assert not is_abnormal(NORMAL)
    assert not is_abnormal("No pneumothorax. The lungs are clear.")
    assert not is_abnormal("Normal chest radiograph.")  # that nothing is found is no finding


# shortcuts -----------------------------------------------------------------------------------------------------------


def shortcut_table(count: int, *, tied: bool) -> Manifest:
    draw = np.random.Generator(np.random.Philox(3))
    label = (np.arange(count) % 2).astype(float)
    source = np.where(label == 1, "a", "b") if tied else draw.choice(["a", "b"], count)
    many = [f"s{n // 2}" for n in range(count)]  # one of each class a scanner: nothing to learn
    patients = [f"p{n}" for n in range(count)]
    return manifest(id__patient=patients, label__edema=label, source=source.tolist(), scanner=many, split=["x"] * count)


def test_a_source_that_tells_the_label_is_a_note_and_one_that_does_not_is_none() -> None:
    (note,) = shortcut_notes(rows_of([shortcut_table(80, tied=True)]))
    assert (note.kind, note.facts["column"], note.facts["label"]) == ("shortcut", "source", "edema")
    assert note.facts["auroc"] == pytest.approx(1)
    assert (note.facts["n"], note.facts["positives"]) == (80, 40)
    assert "source alone ranks edema with AUROC 1.00" in note.text
    assert shortcut_notes(rows_of([shortcut_table(400, tied=False)])) == []


def test_few_records_and_uncertain_labels_prove_no_shortcut() -> None:
    assert associations(rows_of([shortcut_table(48, tied=True)])) == []
    table = shortcut_table(80, tied=True)
    unsure = [-1.0 if n < 40 else value for n, value in enumerate(table.column("label.edema"))]
    assert associations(rows_of([table.with_column("label.edema", unsure)])) == []


def test_positives_of_one_patient_alone_prove_no_shortcut() -> None:
    table = shortcut_table(80, tied=True)
    patients = ["one" if value else f"p{n}" for n, value in enumerate(table.column("label.edema"))]
    assert associations(rows_of([table.with_column("id.patient", patients)])) == []


def test_unknown_patients_are_counted_among_the_records_with_a_side() -> None:
    table = manifest(id__patient=["p", None, None, None], split=["train", "test", None, None])
    (note,) = [note for note in check_cohorts([table], images=False).notes if note.kind == "unknown_patient"]
    assert note.text.startswith("1 of 2 records name no patient")


def test_rows_without_a_label_and_other_labels_change_nothing_of_a_shortcut() -> None:
    draw = np.random.default_rng(5)
    for count in draw.integers(200, 500, 20):
        people = draw.integers(0, max(count // 2, 25), count)
        sites = draw.choice(["north", "South", "é", "10", "9"], count)
        label = np.where(draw.random(count) < 0.2, np.nan, draw.random(count) < np.where(sites == "é", 0.7, 0.4))
        known = np.flatnonzero(~np.isnan(label))
        columns = {"id": [f"r{at}" for at in range(count)], "text": ["x"] * count, "site": sites.tolist()}
        columns |= {"id.patient": [f"p{who}" for who in people], "split": ["train"] * count}
        columns["label.edema"] = [None if np.isnan(value) else float(value) for value in label]
        alone = Manifest.of(columns, root=Path()).take(known)
        beside = Manifest.of(columns | {"label.other": [at % 2 for at in range(count)]}, root=Path())
        found = [each for each in associations(rows_of([beside])) if each.label == "edema"]
        assert found == associations(rows_of([alone]))
        assert len(found) == 1


def test_a_patient_is_drawn_to_a_fold_once_whatever_the_number_of_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    table = shortcut_table(80, tied=True)
    drawn = []

    def noted(name: bytes) -> object:
        drawn.append(name)
        return hashlib.sha256(name)

    monkeypatch.setattr("medvlp.data.leakage.shortcuts.hashlib", SimpleNamespace(sha256=noted))
    edema = table.column("label.edema")
    for number in range(5):
        table = table.with_column(f"label.other{number}", edema)
    assert len(associations(rows_of([table]))) == 12
    assert len(drawn) == len(set(drawn)) > 20


def test_a_size_that_tells_the_label_is_a_shortcut(tmp_path: Path) -> None:
    names, labels = [], []
    for number in range(60):
        names.append(write(tmp_path, f"{number}.png", film(number, height=40 if number % 2 else 30, width=30)))
        labels.append(number % 2)
    columns = {"id": names, "image": names, "label.edema": labels, "split": ["train"] * 60}
    notes = check_cohorts([Manifest.of(columns, root=tmp_path)], near=False).notes
    assert [note.facts["column"] for note in notes if note.kind == "shortcut"] == ["image_size"]


# data sets -----------------------------------------------------------------------------------------------------------


def test_cards_tell_which_sets_share_patients_and_images() -> None:
    table = Manifest.of({"id": ["1"], "text": ["x"]}, root=Path(), meta={"layout": "siim_pneumothorax"})
    notes = check_cohorts([table, table], names=["a", "b"]).notes
    (note,) = [note for note in notes if note.kind == "overlap"]
    assert {"nih_chestxray14", "rsna_pneumonia"} <= set(note.facts["others"])
    linked = Manifest.of({"id": ["1"], "text": ["x"]}, root=Path(), meta={"layout": "nih_chestxray14"})
    here = [note.facts["here"] for note in check_cohorts([table, linked]).notes if note.kind == "overlap"]
    assert here == [["nih_chestxray14"], ["siim_pneumothorax"]]


def test_images_that_two_sets_have_in_common_are_counted_whatever_their_sides(tmp_path: Path) -> None:
    for number in range(4):
        write(tmp_path, f"{number}.png", film(number))

    def of(numbers: Sequence[int]) -> Manifest:
        names = [f"{number}.png" for number in numbers]
        return Manifest.of({"id": names, "image": names, "split": ["train"] * len(names)}, root=tmp_path)

    found = check_cohorts([of([0, 1, 2]), of([1, 2, 3])], names=["a", "b"])
    assert found.leaks == ()  # both are training parts
    assert [note.text for note in found.notes if note.kind == "overlap"] == ["a and b share images: 2."]


# tables --------------------------------------------------------------------------------------------------------------


def test_any_csv_can_be_checked_when_its_columns_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("who;fold\n7;train\n7;test\n")
    table = open_cohort(path, columns=parse_columns(["patient_id=who", "split=fold"]))
    assert [(leak.kind, leak.a, leak.b) for leak in check_cohorts([table]).leaks] == [
        ("patient", "row-000001", "row-000002")
    ]
    with pytest.raises(DataError, match=r"no column that a check can use \(it has: who, fold\)"):
        open_cohort(path)
    with pytest.raises(DataError, match="has no column 'nobody'"):
        open_cohort(path, columns={"id.patient": "nobody"})
    with pytest.raises(ConfigError, match="'who' is not FIELD=COLUMN"):
        parse_columns(["who"])
    manifest(split=["train"]).save(tmp_path / "m.parquet")
    with pytest.raises(ConfigError, match="is no CSV, so --column has no meaning"):
        open_cohort(tmp_path / "m.parquet", columns={"split": "x"})


def test_one_manifest_without_a_split_is_refused() -> None:
    with pytest.raises(DataError, match=r"make one \(`medvlp data split MANIFEST .*, or give .* the parts as several"):
        check_cohorts([manifest(id__patient=["p"])])


# leaks that are known -------------------------------------------------------------------------------------------------

# How many images of SIIM-ACR have 1, 2, 3 ... rows in train-rle.csv: counted there.
_ROWS = {1: 11423, 2: 447, 3: 112, 4: 40, 5: 18, 6: 3, 7: 1, 8: 2, 10: 1}


@pytest.mark.parametrize("seed", [0])
def test_a_row_split_of_siim_puts_a_third_of_the_positive_test_images_into_training(tmp_path: Path, seed: int) -> None:
    images, positive = [], set()
    for rows, count in _ROWS.items():
        for _ in range(count):
            name = f"{len(positive) if rows > 1 else len(images)}-{rows}.dcm"
            images += [name] * rows
            if rows > 1 or len(positive) < 2669 - 624:
                positive.add(name)
    assert (len(images), len(set(images)), len(positive)) == (12954, 12047, 2669)
    draw = np.random.Generator(np.random.Philox(seed))
    sides = np.array(["train", "validate", "test"])[np.searchsorted([0.7, 0.85], draw.random(len(images)), "right")]
    (tmp_path / "rows.csv").write_text("\n".join(["image,split", *map(",".join, zip(images, sides, strict=True))]))
    table = open_cohort(tmp_path / "rows.csv")
    leaks = check_cohorts([table], images=False).leaks
    tested = {image for image, side in zip(images, sides, strict=True) if side == "test" and image in positive}
    where = dict(zip(table.column("id"), images, strict=True))
    trained = {where[leak.a] for leak in leaks if {leak.split_a, leak.split_b} == {"train", "test"}}
    assert {leak.kind for leak in leaks} == {"image"}
    assert trained <= tested
    assert 0.28 < len(trained) / len(tested) < 0.38  # 167 of 507 on average
