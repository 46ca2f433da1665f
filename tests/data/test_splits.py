"""Rules for making a split: who stands together, what moves nobody, what does not depend on the order of rows."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.registry import available, fill
from medvlp.data.manifest import Manifest
from medvlp.data.splits import load_split, make_split, part_facts, split_hash, split_spec, subset
from medvlp.data.splits._groups import checked_fractions, cut

LABELS = ("effusion", "edema", "hernia")


def cohort(records: list[int], *, seed: int = 0, shuffle: int | None = None) -> Manifest:
    """Patients with so many records each, at three sites over ten years, with labels that run in patients."""
    draws = np.random.Generator(np.random.Philox(seed))
    rows = []
    for patient, count in enumerate(records):
        often = draws.random(len(LABELS)) < (0.5, 0.3, 0.15)
        start, site = 2010 + int(draws.integers(8)), "abc"[int(draws.integers(3))]
        for k in range(count):
            labels = [float(o and draws.random() < 0.8) for o in often]
            rows.append((f"i{patient}-{k}", f"p{patient}", f"s{patient}-{k // 2}", site, str(start + k // 2), *labels))
    order = np.random.Generator(np.random.Philox(shuffle or 0)).permutation(len(rows))
    rows = rows if shuffle is None else [rows[i] for i in order]
    names = ("id", "id.patient", "id.study", "site", "year", *(f"label.{label}" for label in LABELS))
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    return Manifest.of({**columns, "text": ["x"] * len(rows)}, root=Path())


cohorts = st.builds(cohort, st.lists(st.integers(1, 6), min_size=40, max_size=90), seed=st.integers(0, 2**31))
RULES = (
    {"name": "patient", "seed": 3},
    {"name": "site", "seed": 3},
    {"name": "time", "column": "year"},
    {"name": "stratified", "seed": 3},
    {"name": "stratified", "seed": 3, "pairs": True},
    {"name": "kfold", "seed": 3, "fold": 1},
    {"name": "kfold", "seed": 3, "stratify": True},
)
by_rule = pytest.mark.parametrize("spec", RULES, ids=lambda spec: "-".join(map(str, spec.values())))


# invariants ----------------------------------------------------------------------------------------------------------


@by_rule
@settings(max_examples=8, deadline=None)
@given(manifest=cohorts, shuffle=st.integers(0, 2**31))
def test_no_patient_is_on_two_sides_each_record_is_once_and_the_order_of_rows_changes_nothing(
    spec: dict[str, object], manifest: Manifest, shuffle: int
) -> None:
    split = make_split(manifest, spec)
    sides: dict[str, set[str]] = {}
    patient = dict(zip(manifest.column("id"), manifest.column("id.patient"), strict=True))
    listed = [i for ids in (*split.parts.values(), *split.left_out.values()) for i in ids]
    assert sorted(listed) == sorted(manifest.column("id"))
    for part, ids in split.parts.items():
        for i in ids:
            sides.setdefault(patient[i], set()).add(part)
    assert all(len(found) == 1 for found in sides.values())
    again = make_split(manifest.take(np.random.Generator(np.random.Philox(shuffle)).permutation(len(manifest))), spec)
    assert again == split
    placed = split.apply(manifest)
    assert split_hash(placed) == split.hash
    assert [part.records for part in part_facts(placed)][: len(split.parts)] == [
        len(ids) for ids in split.parts.values() if ids
    ]


@pytest.mark.parametrize("spec", [{"name": "patient"}, {"name": "kfold", "fold": 2}, {"name": "site", "held": ["b"]}])
def test_adding_patients_moves_nobody(spec: dict[str, object]) -> None:
    few, many = cohort([2] * 480), cohort([2] * 800)
    small, large = make_split(few, spec), make_split(many, spec)
    assert all(set(ids) <= set(large.parts[part]) for part, ids in small.parts.items())


def test_fractions_are_those_asked_for() -> None:
    manifest = cohort([1] * 3000)
    for name, within in (("patient", 0.03), ("stratified", 0.002)):
        parts = make_split(manifest, {"name": name, "fractions": {"train": 0.5, "validate": 0.2, "test": 0.3}}).parts
        shares = {part: len(ids) / 3000 for part, ids in parts.items()}
        assert shares == pytest.approx({"train": 0.5, "validate": 0.2, "test": 0.3}, abs=within)
    nobody = make_split(manifest, {"name": "stratified", "fractions": {"train": 0.5, "validate": 0.0, "test": 0.5}})
    assert nobody.parts["validate"] == ()


@pytest.mark.parametrize("rule", ["own", "patient", "study", "stratified", "site"])
@pytest.mark.parametrize(
    ("fractions", "told"),
    [
        ({"train": 0.7, "valdate": 0.15, "test": 0.15}, "'valdate' would be a part that nothing reads: call it 'valid"),
        ({"train": 0.7, "Val": 0.15, "test": 0.15}, "'Val' would be a part that nothing reads: call it 'validate'"),
        ({"trian": 0.7, "test": 0.3}, "'trian' would be a part that nothing reads: call it 'train'"),
        ({"train": 0.7, "test": 0.7}, r"\{'train': 0.7, 'test': 0.7\} do not sum to 1"),
        ({"train": math.nan, "test": 0.3}, "do not sum to 1"),
    ],
)
def test_shares_that_make_no_parts_are_refused_before_a_cohort_is_read(
    rule: str, fractions: dict[str, float], told: str
) -> None:
    with pytest.raises(ConfigError, match=rf"data\.split\.fractions.*{told}"):
        fill("data/splits", {"name": rule, "fractions": fractions}, where="data.split")
    with pytest.raises(ConfigError, match=told):
        checked_fractions(fractions)


def test_a_part_of_another_name_stays_one() -> None:
    for shares in ({"train": 0.7, "tune": 0.1, "test": 0.2}, {"train": 0.5, "test": 0.25, "test2": 0.25}):
        assert set(make_split(cohort([1] * 60), {"name": "patient", "fractions": shares}).parts) == set(shares)


def test_the_order_in_which_fractions_are_written_moves_nobody() -> None:
    """The hash of a recipe knows no order of keys, so the split must not either."""
    manifest, shares = cohort([2] * 60), {"train": 0.6, "tune": 0.1, "validate": 0.1, "test": 0.2}
    turned = dict(reversed(shares.items()))
    for name in ("patient", "study", "stratified"):
        here, there = (make_split(manifest, {"name": name, "fractions": each}).parts for each in (shares, turned))
        assert here == there
    places = np.array([0.5, 0.65, 0.75, 0.95])  # and configurations that begin with train and end with test stay
    assert cut(places, checked_fractions(turned)).tolist() == list(shares)
    by_year = {"name": "time", "column": "year", "fractions": {"test": 0.4, "train": 0.6}}
    made = make_split(manifest, by_year).apply(manifest)  # there the first one named is the oldest
    years = {part: min(made.split_of(part).column("year")) for part in ("test", "train")}
    assert years["test"] < years["train"]


def test_a_study_stays_whole_and_patients_on_several_sides_are_told() -> None:
    manifest = cohort([6] * 40)
    split = make_split(manifest, "study")
    study = dict(zip(manifest.column("id"), manifest.column("id.study"), strict=True))
    parts = [{study[i] for i in ids} for ids in split.parts.values()]
    assert len(set.union(*parts)) == sum(map(len, parts))
    assert any("Patients with studies in several parts: " in note for note in split.notes)


# k folds -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stratify", [False, True])
def test_folds_partition_the_cohort_and_the_next_one_validates(stratify: bool) -> None:
    manifest = cohort([3] * 60)
    splits = [make_split(manifest, {"name": "kfold", "folds": 4, "fold": k, "stratify": stratify}) for k in range(4)]
    tests = [split.parts["test"] for split in splits]
    assert sorted(i for ids in tests for i in ids) == sorted(manifest.column("id"))
    assert [split.parts["validate"] for split in splits] == [*tests[1:], tests[0]]
    if stratify:
        assert max(map(len, tests)) - min(map(len, tests)) <= 3  # a patient


@pytest.mark.parametrize("patients", [5, 6, 8, 11])
def test_no_fold_is_empty_however_few_the_patients(patients: int) -> None:
    names = [f"p{number}" for number in range(patients) for _ in range(2)]
    columns = {"id": [f"r{number}" for number in range(2 * patients)], "text": ["x"] * 2 * patients}
    manifest = Manifest.of({**columns, "id.patient": names}, root=Path())
    tested: list[str] = []
    for fold in range(5):
        parts = make_split(manifest, {"name": "kfold", "folds": 5, "fold": fold, "seed": 3}).parts
        who = {part: {names[int(row[1:])] for row in rows} for part, rows in parts.items()}
        assert all(who.values())
        assert sum(map(len, who.values())) == patients
        tested += parts["test"]
    assert sorted(tested) == sorted(columns["id"])


def test_a_fold_that_is_not_there_and_more_folds_than_patients_are_refused() -> None:
    with pytest.raises(ConfigError, match="Fold 5 of 5 is none: take 3 folds or more, and a fold from 0 to 4"):
        make_split(cohort([1] * 9), {"name": "kfold", "fold": 5})
    with pytest.raises(DataError, match=r"3 groups of id\.patient cannot fill 5 folds"):
        make_split(cohort([1] * 3), "kfold")


# sites and time ------------------------------------------------------------------------------------------------------


def test_a_held_out_site_is_seen_by_the_test_alone_and_its_patients_nowhere_else() -> None:
    columns = {"id": list("abcde"), "text": ["x"] * 5, "id.patient": list("ppqrs"), "site": list("nsnns")}
    fractions = {"train": 0.8, "test": 0.2}
    split = make_split(Manifest.of(columns, root=Path()), {"name": "site", "held": ["s"], "fractions": fractions})
    assert split.parts == {"train": ("c", "d"), "test": ("b", "e")}
    assert split.left_out == {"of a patient of the test, at another site": ("a",)}


def test_sites_are_drawn_until_they_hold_the_share_of_the_test() -> None:
    manifest = cohort([1] * 900)
    split = make_split(manifest, {"name": "site", "fractions": {"train": 0.6, "test": 0.4}})
    assert len(split.options["held"]) == 1  # a third of the patients is nearer to 0.4 than two thirds
    assert 0.25 < len(split.parts["test"]) / 900 < 0.42


def test_sites_that_cannot_be_held_out_are_refused() -> None:
    manifest = cohort([1] * 60)
    with pytest.raises(DataError, match=r"holds no 'd': allowed are a, b, c"):
        make_split(manifest, {"name": "site", "held": ["d"]})
    with pytest.raises(DataError, match="Nobody is left to train on when a, b, c is the test: hold fewer sites out"):
        make_split(manifest, {"name": "site", "held": ["a", "b", "c"]})
    with pytest.raises(DataError, match="needs two of them, and the column 'site' holds only 'a'"):
        make_split(manifest.where({"site": "a"}), "site")
    with pytest.raises(ConfigError, match="name a test, and a part to train on"):
        make_split(manifest, {"name": "site", "fractions": {"train": 1}})


@settings(max_examples=10, deadline=None)
@given(manifest=cohorts)
def test_every_record_of_a_part_is_newer_than_all_of_the_part_before(manifest: Manifest) -> None:
    split = make_split(manifest, {"name": "time", "column": "year", "cuts": {"validate": "2013", "test": "2015"}})
    year = dict(zip(manifest.column("id"), manifest.column("year").astype(int), strict=True))
    years = {part: [year[i] for i in ids] for part, ids in split.parts.items()}
    assert max(years["train"]) < 2013 <= min(years["validate"])
    assert max(years["validate"]) < 2015 <= min(years["test"])


def test_shares_of_a_split_by_time_are_those_of_patients_by_their_first_date() -> None:
    columns = {"id": [f"r{k}" for k in range(20)], "text": ["x"] * 20, "id.patient": [f"p{k % 10}" for k in range(20)]}
    manifest = Manifest.of({**columns, "year": [str(2000 + k) for k in range(20)]}, root=Path())  # all come twice
    split = make_split(manifest, {"name": "time", "column": "year", "follow_ups": True})
    assert split.options["begins"] == {"train": "", "validate": "2007", "test": "2008"}
    assert {part: len(ids) for part, ids in split.parts.items()} == {"train": 14, "validate": 2, "test": 4}


def test_follow_ups_stay_with_their_patient_where_asked_for() -> None:
    columns = {"id": list("abc"), "text": ["x"] * 3, "id.patient": list("ppq")}
    manifest = Manifest.of({**columns, "date": ["2018-05-01", "20200101", "2019-12"]}, root=Path())
    spec = {"name": "time", "column": "date", "cuts": {"test": "2019-06"}}
    assert make_split(manifest, spec).parts == {"train": ("a",), "test": ("c",)}
    assert make_split(manifest, spec).left_out == {"of a patient of an older part, in the time of a newer one": ("b",)}
    assert make_split(manifest, {**spec, "follow_ups": True}).parts == {"train": ("a", "b"), "test": ("c",)}
    assert make_split(manifest, spec).options["begins"] == {"train": "", "test": "2019-06"}
    # A month that says no more begins behind the last day of the one before.
    dated = manifest.with_column("date", ["2019-05-31", "2019-06", "2019-06-01"])
    assert make_split(dated, {**spec, "follow_ups": True}).parts == {"train": ("a", "b"), "test": ("c",)}


def test_dates_that_cannot_be_read_or_do_not_part_the_cohort_are_refused() -> None:
    manifest = cohort([1] * 40)
    with pytest.raises(DataError, match="column 'id' holds a date that is not 2019, 2019-03, 2019-03-31 or 20190331"):
        make_split(manifest, {"name": "time", "column": "id"})
    with pytest.raises(ConfigError, match="must begin one after the other"):
        make_split(manifest, {"name": "time", "column": "year", "cuts": {"validate": "2015", "test": "2013"}})
    with pytest.raises(ConfigError, match="name train, which has all that is older: leave it out"):
        make_split(manifest, {"name": "time", "column": "year", "cuts": {"train": "2012", "test": "2013"}})
    with pytest.raises(DataError, match="No patient begins in the time of 'test'"):
        make_split(manifest, {"name": "time", "column": "year", "cuts": {"test": "2050"}})
    with pytest.raises(DataError, match="are too few for the parts train, validate, test"):
        make_split(manifest.where({"year": ["2011", "2012"]}), {"name": "time", "column": "year"})
    both = {"name": "time", "column": "year", "cuts": {"test": "2013"}, "fractions": {"train": 1}}
    with pytest.raises(ConfigError, match="has fractions and cuts: give one of them"):
        make_split(manifest, both)


# subsets -------------------------------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(manifest=cohorts, seed=st.integers(0, 99))
def test_a_smaller_training_set_lies_in_the_larger_one_and_other_parts_stay(manifest: Manifest, seed: int) -> None:
    placed = make_split(manifest, "patient").apply(manifest)

    def ids(share: float, part: str) -> set[str]:
        smaller = subset(placed, share=share, seed=seed)
        return set(smaller.split_of(part).column("id"))

    everybody = set(placed.split_of("train").column("id"))
    assert ids(0.01, "train") <= ids(0.1, "train") <= ids(0.5, "train") <= everybody == ids(1, "train")
    assert ids(0.01, "train")
    left = subset(placed, share=0.1, seed=seed).column("split")
    others = placed.column("split") != "train"
    assert left[others].tolist() == placed.column("split")[others].tolist()


def test_a_share_is_one_of_patients_and_few_shots_are_so_many_of_each_class() -> None:
    placed = make_split(cohort([1, 3] * 400), "patient").apply(cohort([1, 3] * 400))
    patients = len(set(placed.split_of("train").column("id.patient")))
    for share in (0.01, 0.1):
        smaller = subset(placed, share=share).split_of("train")
        assert len(set(smaller.column("id.patient"))) == round(share * patients)
    four, eight = (subset(placed, per_class=n, labels=["edema"]).split_of("train") for n in (4, 8))
    assert set(four.column("id")) < set(eight.column("id"))
    positive = {p for p, v in zip(eight.column("id.patient"), eight.column("label.edema"), strict=True) if v == 1}
    assert len(positive) == 8
    assert len(set(eight.column("id.patient"))) == 16


def test_a_subset_has_the_first_patients_of_the_order_of_their_hashes() -> None:
    manifest = cohort([2] * 60)
    placed = make_split(manifest, {"name": "patient", "fractions": {"train": 1}}).apply(manifest)
    sick = {p for p, v in zip(placed.column("id.patient"), placed.column("label.edema"), strict=True) if v == 1}
    well = set(placed.column("id.patient")) - sick
    first = lambda some, n: sorted(some, key=lambda name: hashlib.sha256(f"7\x1f{name}".encode()).digest())[:n]  # noqa: E731
    for options, wanted in (
        ({"share": 0.1}, first(sick | well, 6)),
        ({"per_class": 3, "labels": ["edema"]}, [*first(sick, 3), *first(well, 3)]),
    ):
        assert {*subset(placed, seed=7, **options).split_of("train").column("id.patient")} == {*wanted}


def test_who_is_uncertain_on_one_film_shows_neither_class() -> None:
    columns = {"id": list("abcd"), "text": ["x"] * 4, "id.patient": list("ppqr"), "split": ["train"] * 4}
    manifest = Manifest.of({**columns, "label.edema": [0, -1, 0, 1]}, root=Path())
    assert subset(manifest, per_class=1, seed=4).split_of("train").column("id").tolist() == ["c", "d"]  # p is first


def test_subsets_that_cannot_be_taken_are_refused() -> None:
    manifest = cohort([1] * 30)
    with pytest.raises(DataError, match="has no column 'split': split it first"):
        subset(manifest, share=0.1)
    placed = manifest.with_column("split", ["training"] * len(manifest))
    with pytest.raises(DataError, match=r"No record is in the part 'train'.*did you mean 'training'"):
        subset(placed, share=0.1)
    with pytest.raises(DataError, match=r"Fewer than 25 groups of id\.patient belong to some classes: .*present \d+"):
        subset(placed, per_class=25, part="training")
    with pytest.raises(ConfigError, match="by share or per_class: name exactly one"):
        subset(placed)
    with pytest.raises(ConfigError, match=r"share of a subset is 1\.5"):
        subset(placed, share=1.5)
    with pytest.raises(ConfigError, match="per_class of a subset is 0"):
        subset(placed, per_class=0)


# short forms and refusals --------------------------------------------------------------------------------------------


def test_short_forms_mean_components() -> None:
    assert split_spec("stratified") == {"name": "stratified"}
    assert split_spec({"train": 0.8, "test": 0.2}) == {"name": "own", "fractions": {"train": 0.8, "test": 0.2}}
    assert split_spec({"name": "official"}) == {"name": "published", "split": "official"}
    with pytest.raises(ValueError, match=r"data\.split\.tset is not a part: did you mean 'test'"):
        split_spec({"train": 0.8, "tset": 0.2})


def test_own_is_the_manifests_column_and_patients_where_there_is_none() -> None:
    manifest = cohort([1] * 50)
    drawn = make_split(manifest, {"name": "own", "seed": 4})
    assert drawn.parts == make_split(manifest, {"name": "patient", "seed": 4}).parts
    placed = make_split(manifest, {"name": "patient", "seed": 7}).apply(manifest)
    torn = placed.with_column("split", [None, *placed.column("split")[1:]])
    assert make_split(torn, "own").left_out == {"the column split is blank": (placed.column("id")[0],)}
    kept = make_split(placed, {"name": "own", "seed": 4})
    assert kept.hash == split_hash(placed)
    assert (kept.name, kept.options["seed"]) == ("patient", 7)


def test_held_out_takes_training_patients_only_and_keeps_them_whole() -> None:
    manifest = make_split(cohort([3] * 200), {"name": "patient", "fractions": {"train": 0.7, "test": 0.3}}).apply(
        cohort([3] * 200)
    )
    before = make_split(manifest, "own").parts
    after = make_split(manifest, {"name": "held_out", "share": 0.3, "seed": 5})
    assert after.parts["test"] == before["test"]
    assert sorted(after.parts["train"] + after.parts["validate"]) == list(before["train"])
    people = {part: {name.split("-")[0] for name in ids} for part, ids in after.parts.items()}
    assert not people["train"] & people["validate"]
    assert len(people["validate"]) / len(people["train"] | people["validate"]) == pytest.approx(0.3, abs=0.1)
    # Places and cuts are those of the rule patient.
    trained = manifest.split_of("train")
    drawn = make_split(trained, {"name": "patient", "seed": 5, "fractions": {"train": 0.7, "validate": 0.3}}).parts
    assert {part: after.parts[part] for part in drawn} == drawn
    with pytest.raises(DataError, match=r"a part validate of the part train, and the manifest has train, validate"):
        make_split(after.apply(manifest), "held_out")
    with pytest.raises(DataError, match="the manifest has no column 'split': use patient"):
        make_split(cohort([1] * 3), "held_out")
    blank = Manifest.of({"id": ["a"], "text": ["x"], "id.patient": ["p"], "split": [None]}, root=Path())
    with pytest.raises(DataError, match="and the manifest has a blank column 'split': use patient"):
        make_split(blank, "held_out")


def test_every_rule_says_what_it_cannot_do_without() -> None:
    bare = Manifest.of({"id": ["a", "b"], "text": ["x", "y"], "id.patient": ["p", None]}, root=Path())
    with pytest.raises(DataError, match=r"1 of 2 records have no id\.patient, so a split could leak"):
        make_split(bare, "patient")
    with pytest.raises(DataError, match=r"A split by site needs that column"):
        make_split(bare, "site")
    with pytest.raises(ConfigError, match=r"The split fractions .* do not sum to 1"):
        make_split(bare, {"name": "patient", "fractions": {"train": 0.5, "test": 0.4}})
    with pytest.raises(ConfigError, match="do not sum to 1"):
        make_split(bare, {"name": "patient", "fractions": {"train": 1.5, "test": -0.5}})
    with pytest.raises(ConfigError, match=r"data\.split\.sed is not a known key: did you mean 'seed'"):
        make_split(bare, {"name": "patient", "sed": 1})
    with pytest.raises(DataError, match=r"'pateint' is no rule: did you mean 'patient'\?"):
        make_split(bare, "pateint")
    assert set(available("data/splits")) == {
        "held_out", "ids", "kfold", "own", "patient", "published", "site", "stratified", "study", "time"
    }  # fmt: skip


# storage -------------------------------------------------------------------------------------------------------------


@by_rule
def test_a_stored_split_comes_back_and_a_changed_one_is_refused(spec: dict[str, object], tmp_path: Path) -> None:
    split = make_split(cohort([2] * 50), spec)
    split.save(tmp_path / "s.json")
    assert load_split(tmp_path / "s.json") == split
    text = (tmp_path / "s.json").read_text()
    (tmp_path / "s.json").write_text(text.replace('"i1-0"', '"i1-9"'))
    with pytest.raises(DataError, match="do not have the hash that it names"):
        load_split(tmp_path / "s.json")
    (tmp_path / "s.json").write_text('{"schema": "other"}')
    with pytest.raises(DataError, match="is not a stored split"):
        load_split(tmp_path / "s.json")
    (tmp_path / "s.json").write_text('{"schema": "medvlp.split/1"}')
    with pytest.raises(DataError, match="lacks or misspells 'name'"):
        load_split(tmp_path / "s.json")


def test_a_stored_split_on_another_manifest_tells_what_is_missing_and_what_is_not_listed(tmp_path: Path) -> None:
    few, many = cohort([2] * 40), cohort([2] * 50)
    make_split(many.take(np.arange(10, 100)), {"name": "patient"}).save(tmp_path / "s.json")
    split = make_split(few, {"name": "ids", "stored": str(tmp_path / "s.json")})
    assert (len(split.missing_in(few)), len(split.unlisted_in(few))) == (20, 10)
    assert split.caveats(few) == (
        "Listed ids that are not in the manifest: 20.",
        "10 of 80 records are on no list and stand in no part.",
    )
    placed = split.apply(few)
    assert placed.column("split").tolist()[:10] == [None] * 10
    made = placed.meta["split"]
    assert isinstance(made, dict)
    assert (made["missing"], made["unlisted"], made["listed"]) == (20, 10, split.hash)
    other = Manifest.of({"id": ["z"], "text": ["x"]}, root=Path())
    with pytest.raises(DataError, match="No id of the manifest is on the lists of the split 'patient'"):
        split.apply(other)


def test_the_facts_of_a_split_go_with_the_saved_manifest(tmp_path: Path) -> None:
    manifest = cohort([2] * 40)
    placed = make_split(manifest, {"name": "patient", "seed": 5}).apply(manifest)
    placed.save(tmp_path / "m.parquet")
    made = Manifest.load(tmp_path / "m.parquet").meta["split"]
    assert isinstance(made, dict)
    assert (made["rule"], made["options"]["seed"], made["hash"]) == ("patient", 5, split_hash(placed))
