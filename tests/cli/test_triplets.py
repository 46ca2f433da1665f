"""`medvlp data triplets`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from medvlp.text.medslip_matrix import load_matrix
from tests.text.radgraph_graphs import SMALL, entry


def test_reports_become_triplets_a_matrix_and_medslips_folder(cli, tmp_path):
    table, out = tmp_path / "r.csv", tmp_path / "t.jsonl"
    table.write_text("id,image,split,text\ns1,a.png,train,Left effusion.\ns2,b.png,test,No effusion.\ns3,c.png,test,\n")
    ran = cli(
        "data", "triplets", table, "--out", out, "--matrix", tmp_path / "m.npz", "--medslip", tmp_path / "medslip"
    )
    assert ran.code == 0
    assert ran.out.splitlines() == [
        f"{out}: 2 studies, 2 triplets.",
        "Left out, no text: 1 rows (lines 4).",
        f"{tmp_path / 'm.npz'}: 2 matrices of 51 x 75.",
        f"{tmp_path / 'medslip'}: 2 studies, images: train 1, test 1.",
    ]
    studies = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(study["study_id"], study["triplets"][0]["presence"]) for study in studies] == [
        ("s1", "present"),
        ("s2", "absent"),
    ]
    folder = tmp_path / "medslip"
    stored = np.load(folder / "landmark_observation_adj_mtx.npy")
    assert np.array_equal(stored, load_matrix(tmp_path / "m.npz").values)
    lists = {split: json.loads((folder / f"{split}.json").read_text()) for split in ("train", "test")}
    assert lists == {"train": {"a.png": {"labels_id": 0}}, "test": {"b.png": {"labels_id": 1}}}


def test_an_option_of_the_other_kind_of_reports_is_refused(cli, tmp_path):
    table, out = tmp_path / "r.csv", ("--out", tmp_path / "t.jsonl")
    table.write_text("id,text\ns1,Left effusion.\n")
    told = cli("data", "triplets", table, *out, "--nested-modifiers").refused()
    assert told == f"medvlp: --nested-modifiers is an option of RadGraph, not of {table}: leave it out."
    told = cli("data", "triplets", SMALL, *out, "--sections", "impression").refused()
    assert told.startswith("medvlp: --sections is an option of a CSV, not of ")
    matrix = (*out, "--matrix", tmp_path / "m.npz")
    told = cli("data", "triplets", SMALL, *matrix, "--both-sides").refused()
    assert told.startswith("medvlp: --both-sides is an option of a CSV, not of ")
    for option in (["--midlung-right"], ["--lemmas", "spacy"]):
        told = cli("data", "triplets", table, *matrix, *option).refused()
        assert told == f"medvlp: {option[0]} is an option of RadGraph, not of {table}: leave it out."
    told = cli("data", "triplets", table, *out, "--both-sides").refused()
    assert "--both-sides is an option of matrices, and there are none without --matrix or --medslip" in told


def test_the_guides_write_triplets_as_json_lines():
    pages = [*(Path(__file__).parents[2] / "docs").rglob("*.md")]
    written = [name for page in pages for name in re.findall(r"medvlp data triplets .*--out (\S+)", page.read_text())]
    assert written
    assert all(name.endswith(".jsonl") for name in written)


def test_radgraphs_file_is_read_as_published_unless_told_otherwise(cli, tmp_path):
    assert cli("data", "triplets", SMALL, "--out", tmp_path / "plain.jsonl").out.endswith(": 2 studies, 10 triplets.\n")
    ran = cli("data", "triplets", SMALL, "--out", tmp_path / "linked.jsonl", "--linked-observations")
    assert ran.out.endswith(": 2 studies, 14 triplets.\n")


def test_options_of_a_matrix_and_of_relations_do_what_they_say(cli, tmp_path):
    table, graphs, out, at = (tmp_path / name for name in ("r.csv", "g.json", "t.jsonl", "m.npz"))
    table.write_text("id,text\ns1,Bilateral pleural effusions. Possible edema.\n")

    def cells(source, *options):
        assert cli("data", "triplets", source, "--out", out, "--matrix", at, *options).code == 0
        found = np.load(at)
        return {
            (str(found["anatomies"][row]), str(found["observations"][column])): float(found["values"][0, row, column])
            for row, column in np.argwhere(found["values"][0] != -1)
        }

    assert cells(table) == {("pleural_unspec", "effusion"): 1}
    both = {("left_pleural", "effusion"): 1, ("right_pleural", "effusion"): 1}
    assert cells(table, "--both-sides") == both
    for policy, value in (("negative", 0), ("positive", 1), ("soft", 0.5)):
        assert cells(table, "--both-sides", "--uncertain", policy) == {**both, ("lung_volumes", "edema"): value}
    left = entry(
        "Opacity in left lower lobe . Edema there", ("Opacity", "OBS-DP", "located_at lobe"), ("lobe", "ANAT-DP", ""),
        ("lower", "ANAT-DP", "modify lobe"), ("left", "ANAT-DP", "modify lower"),
        ("Edema", "OBS-DP", "located_at lobe"),
    )  # fmt: skip
    graphs.write_text(json.dumps({"p10/p10000001/s50000001.txt": left}))
    for options, places in (
        ((), {"opacity": "lobe|lower"}),
        (("--nested-modifiers",), {"opacity": "lobe|lower|left"}),
        (("--across-sentences",), {"opacity": "lobe|lower", "edema": "lobe|lower"}),
    ):
        cells(graphs, *options)
        said = json.loads(out.read_text())["triplets"]
        assert {each["observation"]: each["anatomy"] for each in said} == places
    right = entry(
        "Opacity in right midlung", ("Opacity", "OBS-DP", "located_at midlung"), ("midlung", "ANAT-DP", ""),
        ("right", "ANAT-DP", "modify midlung"),
    )  # fmt: skip
    graphs.write_text(json.dumps({"p10/p10000001/s50000001.txt": right}))
    assert cells(graphs) == {("other", "opacity"): 1}
    assert cells(graphs, "--midlung-right") == {("right_mid_lung", "opacity"): 1}


def test_bad_input_exits_2_with_one_sentence(cli, tmp_path):
    out = tmp_path / "t.jsonl"
    assert "does not exist" in cli("data", "triplets", tmp_path / "none.csv", "--out", out).refused()
    (tmp_path / "r.csv").write_text("id,report\ns1,Clear.\n")
    told = cli("data", "triplets", tmp_path / "r.csv", "--out", out).refused()
    assert "has no column 'text': say which one it is, --column text=COLUMN (there are id, report)" in told
    assert (
        f"The table {tmp_path} is a folder: name a file in it." in cli("data", "triplets", tmp_path, "--out", out).err
    )
    (tmp_path / "r.csv").write_text("id,text\ns1,Clear.\n")
    ran = cli("data", "triplets", tmp_path / "r.csv", "--out", out, "--vocabulary", "nih15")
    assert "no label vocabulary 'nih15'" in ran.refused()
    assert not out.exists()


def test_the_reports_are_never_written_over(cli, tmp_path):
    table, out = tmp_path / "r.csv", tmp_path / "t.jsonl"
    table.write_text("id,text\ns1,Clear.\n")
    assert "would be written over" in cli("data", "triplets", table, "--out", table).refused()
    assert "would be written over" in cli("data", "triplets", table, "--out", out, "--matrix", table).refused()
    assert "is a folder: name a file" in cli("data", "triplets", table, "--out", tmp_path).refused()
    assert table.read_text() == "id,text\ns1,Clear.\n"
    assert not out.exists()


@pytest.mark.parametrize(
    ("option", "name", "sentence"),
    [
        ("--matrix", "m.npy", "m.npy does not end in .npz: name it m.npz"),
        ("--medslip", "reports.csv/medslip", "medslip cannot be written"),
    ],
)
def test_an_output_that_cannot_be_is_told_before_the_reports_are_read(cli, tmp_path, option, name, sentence):
    table, out = tmp_path / "reports.csv", tmp_path / "triplets.jsonl"
    table.write_text("id,text\ns1,Left effusion.\n")
    assert sentence in cli("data", "triplets", table, "--out", out, option, tmp_path / name).refused()
    assert not out.exists()


def test_a_vocabulary_chooses_the_observations(cli, tmp_path):
    table, out = tmp_path / "r.csv", tmp_path / "t.jsonl"
    table.write_text("id,text\ns1,Left lower lobe pneumonia. Hiatal hernia.\n")
    cli("data", "triplets", table, "--out", out, "--vocabulary", "phantom12")
    triplets = json.loads(out.read_text())["triplets"]
    assert [(each["observation"], each["anatomy"]) for each in triplets] == [("consolidation", "lower lobe")]
