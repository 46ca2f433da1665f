from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from medvlp.data.label_reports import label_caveats
from medvlp.data.manifest import Manifest

REPORTS = """id,text
a,"FINDINGS: Small left effusion. No pneumothorax. IMPRESSION: Possible pneumonia."
b,Clear lungs.
c,Kein Pleuraerguss.
d,
e,NA
"""


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    path = tmp_path / "reports.csv"
    path.write_text(REPORTS, encoding="utf-8")
    return path


def test_labels_are_one_zero_minus_one_or_blank(cli, reports: Path, tmp_path: Path) -> None:
    ran = cli("data", "label", reports, "--vocabulary", "nih14", "--out", tmp_path / "labels.csv")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        f"{tmp_path / 'labels.csv'}: 5 reports.",
        "note: blank are 2 reports without text and 1 not in English.",
    ]
    rows = list(csv.DictReader((tmp_path / "labels.csv").open()))
    assert [row["id"] for row in rows] == ["a", "b", "c", "d", "e"]
    said = [(row["effusion"], row["pneumothorax"], row["pneumonia"], row["no_finding"]) for row in rows]
    assert said == [("1", "0", "-1", ""), ("", "", "", "1"), *[("", "", "", "")] * 3]
    assert len(rows[0]) == 16


def test_evidence_is_one_mention_a_line_with_its_words_in_place(cli, reports: Path, tmp_path: Path) -> None:
    out, evidence = tmp_path / "labels.csv", tmp_path / "evidence.jsonl"
    assert cli("data", "label", reports, "--vocabulary", "chexpert14", "--out", out, "--evidence", evidence).code == 0
    said = [json.loads(line) for line in evidence.read_text().splitlines()]
    assert {(m["id"], m["finding"], m["presence"]) for m in said} >= {
        ("a", "effusion", "present"),
        ("a", "pneumothorax", "absent"),
        ("a", "pneumonia", "uncertain"),
    }
    text = next(csv.DictReader(reports.open()))["text"]
    assert all(text[m["start"] : m["end"]] == m["text"] for m in said if m["id"] == "a")


def test_the_sections_that_are_read_can_be_chosen(cli, reports: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    cli("data", "label", reports, "--vocabulary", "nih14", "--out", out, "--sections", "impression")
    row = next(csv.DictReader(out.open()))
    assert (row["effusion"], row["pneumonia"]) == ("", "-1")


@pytest.mark.parametrize(
    ("table", "options", "sentence"),
    [
        ("id,report\na,x\n", (), "has no column 'text'"),
        ("id,text\na,x\na,y\n", (), "has the id of line 2 again in line 3: give every report its own"),
        ("id,text\n,x\n", (), "line 2, has no id: give every report its own"),
        ("id,text\na,x\n", ("--vocabulary", "nih"), "no label vocabulary 'nih'"),
        ("id,text\na,x\n", ("--sections", "finding"), "no section 'finding': did you mean 'findings'?"),
        (None, (), "does not exist"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(cli, tmp_path: Path, table, options, sentence) -> None:
    path = tmp_path / "reports.csv"
    if table is not None:
        path.write_text(table)
    ran = cli("data", "label", path, "--vocabulary", "nih14", "--out", tmp_path / "labels.csv", *options)
    assert sentence in ran.refused()
    assert not (tmp_path / "labels.csv").exists()


def test_a_table_of_a_spreadsheet_on_windows_is_read_in_its_encoding(cli, tmp_path: Path) -> None:
    table, out = tmp_path / "export.csv", tmp_path / "out"
    table.write_bytes("id;text\nMüller;Left effusion.\n".encode("cp1252"))
    for verb, more in (("label", ("--vocabulary", "nih14")), ("triplets", ())):
        words = ("data", verb, table, "--out", out, *more)
        assert "is not in the encoding utf-8-sig: save it as UTF-8" in cli(*words).refused()
        assert cli(*words, "--encoding", "cp1252").code == 0
        assert "Müller" in out.read_text(encoding="utf-8")
    table.write_bytes("id;text\nMüller;Left effusion.\n".encode("utf-8-sig"))
    assert "is UTF-8; read as cp1252, a letter beyond" in cli(*words, "--encoding", "cp1252").refused()
    assert cli(*words, "--encoding", "utf-8").code == 0  # whose byte order mark is no letter of the first column


def test_a_manifest_of_reports_gets_their_labels_as_columns(cli, tmp_path: Path) -> None:
    made, out = tmp_path / "m.parquet", tmp_path / "labelled.parquet"
    texts = ["FINDINGS: Small left effusion. No pneumothorax. IMPRESSION: Possible pneumonia.", None]
    Manifest.of({"id": ["a", "b"], "text": texts, "split": ["test", "test"]}, root=tmp_path).save(made)
    words = ("data", "label", made, "--vocabulary", "nih14", "--out")
    assert cli(*words, out).out.splitlines()[0] == f"{out}: 2 reports."
    record, blank = map(Manifest.load(out).record, range(2))
    assert label_caveats(Manifest.load(out))[0].startswith("Labels were read from reports by rules (nih14): ")
    assert [record[f"label.{name}"] for name in ("effusion", "pneumothorax", "pneumonia")] == [1.0, 0.0, -1.0]
    assert (record["split"], "label.mass" in record, "label.effusion" in blank) == ("test", False, False)
    assert "give --out a file name that ends in .parquet" in cli(*words, tmp_path / "l.csv").refused()
    assert "so --column has no meaning" in cli(*words, out, "--column", "text=x").refused()
    told = cli("data", "label", out, "--vocabulary", "nih14", "--out", tmp_path / "twice.parquet").refused()
    assert "has the label atelectasis already" in told


def test_columns_under_other_names_are_named_on_the_command_line(cli, reports: Path, tmp_path: Path) -> None:
    table = tmp_path / "export.csv"
    table.write_text(REPORTS.replace("id,text", "Fall,Befund"))
    words = ("data", "label", table, "--vocabulary", "nih14", "--out", tmp_path / "labels.csv")
    told = cli(*words).refused()
    assert "has no column 'id': say which one it is, --column id=COLUMN (there are Fall, Befund)" in told
    assert cli(*words, "--column", "id=Fall", "--column", "text=Befund").code == 0
    cli("data", "label", reports, "--vocabulary", "nih14", "--out", tmp_path / "same.csv")
    assert (tmp_path / "labels.csv").read_text() == (tmp_path / "same.csv").read_text()
    assert "--column note=Befund is of no use here: " in cli(*words, "--column", "note=Befund").refused()
    assert "has no column 'Fal': did you mean 'Fall'" in cli(*words, "--column", "id=Fal").refused()
    out = tmp_path / "t.jsonl"
    told = cli("data", "triplets", table, "--out", out, "--column", "id=Fall", "--column", "text=Befund")
    assert told.out.splitlines()[1:] == [
        "Left out, no text: 2 rows (lines 5, 6).", "Left out, not in English: 1 rows (lines 4).",
    ]  # fmt: skip
    assert told.err == ""
