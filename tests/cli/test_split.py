"""`medvlp data split`, and a split's way through a run: configuration, data.json, bundle, results."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from medvlp.config.tree import DataConfig
from medvlp.core.errors import DataError
from medvlp.data.layouts.phantom import index
from medvlp.data.manifest import Manifest
from medvlp.data.splits import make_split, split_hash
from medvlp.runs.data import open_manifest
from tests.messages import messages
from tests.tiny import tiny_tree, write_tree

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary

Cli = Callable[..., Any]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Forty patients with two records each, at two sites."""
    lines = ["id,text,id.patient,site,year,label.edema"]
    lines += [f"i{p}-{k},x,p{p},{'ns'[p % 2]},{2010 + p // 5},{int(p % 3 == 0)}" for p in range(40) for k in range(2)]
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "m.csv"


def test_the_table_counts_records_patients_and_positives_and_the_files_agree(cli: Cli, table: Path) -> None:
    out, ids = table.with_name("m2.parquet"), table.with_name("ids.json")
    words = ("--out", out, "--ids", ids, "--fractions", "train=.5,validate=.25,test=.25")
    told = cli("data", "split", table, "--rule", "stratified", *words)
    assert told.code == 0, told.err
    lines = told.out.splitlines()
    assert lines[0].split() == ["train", "validate", "test"]
    assert lines[1].split() == ["records", "40", "20", "20"]
    assert lines[2].split() == ["patients", "20", "10", "10"]
    positives = [int(word) for word in lines[3].split() if word.isdigit()]
    assert sum(positives) == 28
    assert all(abs(count - 28 * share) <= 2 for count, share in zip(positives, (0.5, 0.25, 0.25), strict=True))
    placed = Manifest.load(out)
    assert lines[-1] == f"split stratified, hash {split_hash(placed)}, in {out}, {ids}"
    unsaved = cli("data", "split", table, "--rule", "patient").out
    assert unsaved.splitlines()[-1].endswith(", written nowhere: say --out FILE")
    assert json.loads(ids.read_text())["hash"] == split_hash(placed)
    again = cli("data", "split", table, "--rule", "ids", f"stored={ids}", "--json")
    assert json.loads(again.out)["hash"] == split_hash(placed)


def test_options_of_a_rule_and_a_smaller_training_set(cli: Cli, table: Path) -> None:
    told = cli("data", "split", table, "--rule", "time", "column=year", "cuts={test: '2016'}", "--json")
    found = json.loads(told.out)
    assert [(part["name"], part["records"]) for part in found["parts"]] == [("train", 60), ("test", 20)]
    ids = table.with_name("ids.csv")
    told = cli(
        "data", "split", table, "--rule", "site", "held=[s]", "--share", "0.25", "--seed", 2, "--ids", ids, "--json"
    )
    counts = {part["name"]: part["patients"] for part in json.loads(told.out)["parts"]}
    assert counts["test"] == 20
    assert sum(counts.values()) == 40
    listed = [line.split(",")[1] for line in ids.read_text().splitlines()[1:]]
    assert listed.count("train") == 2 * counts["train"]
    few = json.loads(cli("data", "split", table, "--rule", "patient", "--per-class", 3, "--json").out)["parts"]
    assert [(part["records"], part["patients"]) for part in few if part["name"] == "train"] == [(12, 6)]
    both = cli("data", "split", table, "--rule", "patient", "--per-class", 3, "--share", 0.5).refused()
    assert "by share or per_class: name exactly one" in both


def test_a_smaller_training_set_is_of_the_groups_of_the_split(cli: Cli, tmp_path: Path) -> None:
    """Of figures no patient is known; they are split by article."""
    lines = ["id,text,id.article", *(f"f{a}-{k},x,a{a}" for a in range(20) for k in range(3))]
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    words = ("--rule", "patient", "by=id.article", "--share", "0.5", "--fractions", "train=.8,test=.2", "--json")
    done = cli("data", "split", tmp_path / "m.csv", *words)
    assert done.code == 0, done.err
    parts = {part["name"]: part["records"] for part in json.loads(done.out)["parts"]}
    assert (parts["train"], parts["test"]) == (24, 12)


def test_what_cannot_be_split_is_one_sentence(cli: Cli, table: Path) -> None:
    for words, sentence in (
        (("--rule", "patient", "--fractions", "train=.5"), "The split fractions {'train': 0.5} do not sum to 1"),
        (("--rule", "patient", "--fractions", "train"), "--fractions 'train' is not of the form"),
        (("--rule", "pateint"), "is no rule: did you mean 'patient'?"),
        (
            ("--rule", "official", "--card", "phantom"),
            "the manifest has no column split: index it by the layout phantom",
        ),
        (("--rule", "official", "--card", "fantom"), "did you mean 'phantom.md'"),
        (("--rule", "time", "column=date"), "A split by date needs that column"),
        (("--rule", "time"), "data.split.column is missing: give it a value"),
        (("--rule", "stratified", "labels=[edemaa]"), "has no label 'edemaa': did you mean 'edema'"),
    ):
        assert sentence in cli("data", "split", table, *words).refused()


def test_the_cohort_that_is_split_is_never_written_over(cli: Cli, table: Path, tmp_path: Path) -> None:
    before, rule = table.read_bytes(), ("--rule", "patient")
    made = tmp_path / "made.parquet"
    Manifest.load(table).save(made)
    over = "is read by this command and would be written over"
    assert over in cli("data", "split", table, *rule, "--ids", table).refused()
    assert over in cli("data", "split", made, *rule, "--out", made).refused()
    assert (
        "would be written twice"
        in cli(
            "data", "split", table, *rule, "--out", tmp_path / "o.parquet", "--ids", tmp_path / "o.parquet"
        ).refused()
    )
    for name in ("m.csv", "o.csv", "."):
        assert (
            "give --out a file name that ends in .parquet"
            in cli("data", "split", table, *rule, "--out", tmp_path / name).refused()
        )
    assert table.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.csv", "made.parquet"]


def test_a_patient_under_two_names_is_told_by_split_and_by_check(cli: Cli, tmp_path: Path) -> None:
    table = tmp_path / "m.csv"
    rows = [("a", "07", "train"), ("b", "7", "test"), ("c", "8", "train"), ("d", "8.0", "train"), ("e", "9", "test")]
    table.write_text("id,text,id.patient,part\n" + "".join(f"{name},Clear.,{who},{side}\n" for name, who, side in rows))
    told = cli("data", "split", table, "--rule", "patient", "--fractions", "train=.5,test=.5").out
    assert "note: Patients under several names that differ in blanks, case, Unicode form, leading zeros or a" in told
    told = cli("data", "check", table, "--column", "split=part").out
    assert (
        "note: Patients on several sides under names that differ in blanks, case, Unicode form, leading zeros or a "
        "decimal point alone: 1." in told
    )


def test_stored_lists_mean_the_same_records_whatever_is_chosen(table: Path) -> None:
    manifest = Manifest.load(table)
    make_split(manifest, "patient").save(table.with_name("s.json"))
    data = DataConfig.model_validate(
        {
            "root": str(table.parent),
            "manifest": str(table),
            "split": {"name": "ids", "stored": str(table.with_name("s.json"))},
            "where": {"site": "n"},
            "subset": {"share": 0.5},
        }
    )
    with messages() as told:
        chosen = open_manifest(data)
    whole = make_split(manifest, "patient").apply(manifest).where({"site": "n"})
    assert told == ["Listed ids that are not in the manifest: 40."]
    assert set(chosen.split_of("train").column("id")) < set(whole.split_of("train").column("id"))
    assert chosen.split_of("test").column("id").tolist() == whole.split_of("test").column("id").tolist()


def test_fractions_alone_are_drawn_by_patient(table: Path) -> None:
    data = DataConfig.model_validate({"root": str(table.parent), "manifest": str(table), "split": {"train": 1}})
    assert data.split == {"name": "own", "fractions": {"train": 1}}
    assert set(open_manifest(data).column("split")) == {"train"}


def test_a_rebuilt_leak_is_refused_unless_it_is_allowed(table: Path) -> None:
    table.with_name("s.csv").write_text("id,split\ni0-0,train\ni1-0,train\ni1-0,test\n")
    spec = {"name": "ids", "table": str(table.with_name("s.csv")), "repeat": True}
    config = {"root": str(table.parent), "manifest": str(table), "split": spec}
    with pytest.raises(DataError, match="split leaks"):
        open_manifest(DataConfig.model_validate(config))
    opened = open_manifest(DataConfig.model_validate({**config, "allow_leaks": True}))
    assert opened.split_of("test").column("id").tolist() == ["i1-0@test"]


@pytest.mark.slow
def test_a_known_flaw_stands_in_what_is_said_written_released_and_measured(
    cli: Cli, tiny_cohort: CohortSummary, tmp_path: Path
) -> None:
    split = make_split(index(tiny_cohort.root), "official")
    replace(split, name="rows", card="a_set", flaw="rows of one image on two sides").save(tmp_path / "s.json")
    tree = tiny_tree(tmp_path / "run", tiny_cohort.root, tmp_path / "cache")
    tree["data"]["split"] = {"name": "ids", "stored": str(tmp_path / "s.json")}
    tree["data"]["subset"] = {"share": 0.9}
    sentence = "The split 'rows' of a_set has a known flaw: rows of one image on two sides."
    told = cli("train", write_tree(tmp_path / "c.yaml", tree), "phases.0.until=8", "training.validate_every=8")
    assert told.code == 0, told.err
    assert sentence in told.out.splitlines()
    facts = json.loads((tmp_path / "run" / "data.json").read_text())
    assert facts["split_made"]["flaw"] == "rows of one image on two sides"
    assert facts["split"] == split_hash(Manifest.load(tmp_path / "run" / "manifest.parquet"))
    assert facts["subset"]["share"] == 0.9
    assert sentence in (tmp_path / "run" / "bundle" / "card.md").read_text()
    words = [f"model={tmp_path / 'run' / 'bundle'}", f"out={tmp_path / 'judged'}", f"data.root={tiny_cohort.root}"]
    words += [
        f"data.split={{name: ids, stored: {tmp_path / 's.json'}}}",
        "evaluation.split=train",
        "workers=1",
        "data.allow_leaks=true",
    ]
    words += [
        "evaluation.resamples=100",
        "evaluation.gallery=0",
        "evaluation.min_positives=1",
        "evaluation.measures.probes=null",
    ]
    told = cli("evaluate", "evaluate/phantom.yaml", *words)
    assert told.code == 0, told.err
    assert sentence in told.err
    results = json.loads((tmp_path / "judged" / "results" / "zero_shot.json").read_text())
    first, leak, last = results["caveats"]
    assert (first, last) == (sentence, f"The model's training: {sentence}")
    assert leak.startswith("The model was trained or chosen on ")  # it is judged on its training part
    assert len(results["split"]) == 16
    assert "rows of one image on two sides" in (tmp_path / "judged" / "report.html").read_text()
