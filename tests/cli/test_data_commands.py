"""`medvlp data list | info | index`: what they print and write, and what a user can get wrong."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from medvlp.data.cards import cards, load_card
from medvlp.data.manifest import Manifest
from medvlp.data.shards import shard_manifest
from tests.data.films import film, write

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary

Cli = Callable[..., Any]
COLUMNS = "columns={image: file, patient_id: who, label.edema: edema}"


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder of six noise pictures and their table; the fourth picture is cut short."""
    root = tmp_path / "films"
    root.mkdir()
    draws = np.random.Generator(np.random.Philox(1))
    for at in range(6):
        Image.fromarray(draws.integers(0, 256, (32, 24), dtype=np.uint8)).save(root / f"{at}.png")
    (root / "3.png").write_bytes((root / "3.png").read_bytes()[:100])
    rows = "".join(f"{at}.png,DOE^JANE-{at // 2},{('1', '0', '-1', '')[at % 4]}\n" for at in range(6))
    (root / "t.csv").write_text(f"file,who,edema\n{rows}")
    return root


# list and info -------------------------------------------------------------------------------------------------------


def test_list_gives_each_data_set_and_layout_one_aligned_line(cli: Cli) -> None:
    lines = cli("data", "list").out.splitlines()
    found = json.loads(cli("data", "list", "--json").out)
    names = [entry["name"] for entry in found]
    assert [line.split()[0] for line in lines] == names == sorted(names)
    assert {*cards(), "csv", "hospital"} <= set(names)
    phantom = found[names.index("phantom")]
    assert (phantom["modality"], phantom["access"], phantom["synthetic"]) == (["cxr", "ct"], "generated", True)
    starts = {line.index(entry["access"], len(entry["name"])) for line, entry in zip(lines, found, strict=True)}
    assert len(starts) == 1
    assert all(entry["title"] in line for line, entry in zip(lines, found, strict=True))


def test_info_tells_the_cards_facts_and_how_to_index(cli: Cli) -> None:
    told = cli("data", "info", "phantom").out
    for words in (
        "The synthetic hospital",
        "Synthetic: nobody stands behind",
        "Drawn by patient when the cohort is made",
        "medvlp data index phantom ROOT --out manifest.parquet",
        "What not to conclude",
        "Prevalences are a design",
    ):
        assert words in told
    assert json.loads(cli("data", "info", "phantom", "--json").out) == load_card("phantom").model_dump(mode="json")
    assert max(map(len, told.splitlines())) <= 110


def test_info_of_a_general_layout_tells_its_options(cli: Cli) -> None:
    told = cli("data", "info", "csv").out
    assert told.startswith("Any table with a column of image files, of words, or both.\n")
    words = " ".join(told.split())  # lines are as wide as the terminal
    assert "same_patient: columns of the table in which an equal value also means the same patient" in words
    assert "encoding: of the table (default 'utf-8-sig')" in told
    assert "workers" not in cli("data", "info", "hospital").out
    assert json.loads(cli("data", "info", "csv", "--json").out) == {"layout": "csv"}


def test_index_tells_and_lists_what_the_layout_made_no_record_of(cli: Cli, tmp_path: Path) -> None:
    for name in ("edema", "normal"):
        (tmp_path / "films" / name).mkdir(parents=True)
        write(tmp_path / "films" / name, "a.png", film(len(name)))
    (tmp_path / "films" / "edema" / "notes.txt").write_text("x")
    (tmp_path / "films" / "loose.png").write_text("x")
    words = ("data", "index", "image_folder", tmp_path / "films", "--no-page", "--workers", "0")
    told = cli(*words, "--out", tmp_path / "m.parquet")
    table = tmp_path / "m.left_out.csv"
    assert f"{table}: 2 files or rows listed apart (1 no picture, 1 no class folder)." in told.out.splitlines()
    assert sorted(table.read_text(encoding="utf-8").splitlines()) == [
        "no_class_folder,loose.png", "no_picture,edema/notes.txt", "reason,file_or_line",
    ]  # fmt: skip
    (tmp_path / "films" / "edema" / "notes.txt").unlink()
    (tmp_path / "films" / "loose.png").unlink()
    told = cli(*words, "--out", tmp_path / "m.parquet")
    assert "listed apart" not in told.out
    assert not table.exists()


@pytest.mark.parametrize("words", [["info"], ["index", ".", "--out", "m.parquet"]], ids=["info", "index"])
def test_an_unknown_name_has_the_nearest(cli: Cli, words: list[str]) -> None:
    told = cli("data", words[0], "fantom", *words[1:]).refused()
    assert "There is no data set or layout named 'fantom': did you mean 'phantom'? (allowed: " in told
    assert told.endswith("; `medvlp data list` shows all.")


# index ---------------------------------------------------------------------------------------------------------------


def test_index_parts_the_readable_from_the_quarantined(cli: Cli, films: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.parquet"
    told = cli("data", "index", "csv", films, "--out", out, COLUMNS, "--workers", "0")
    assert (told.code, told.err) == (0, "")
    table = tmp_path / "m.quarantine.csv"
    assert told.out.splitlines() == [
        f"{out}: 5 records, columns id, image, id.patient, label.edema, sha256.",
        f"{table}: left out, because a file cannot be read: 1.",
        f"Open {tmp_path / 'm.html'}",
    ]
    with open(table, encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["id"], row["reason"]) for row in rows] == [("3.png", "truncated")]
    saved = Manifest.load(out)
    assert saved.column("id").tolist() == ["0.png", "1.png", "2.png", "4.png", "5.png"]
    assert saved.column("label.edema").tolist() == [1, 0, -1, 1, 0]
    assert saved.meta["quarantined"] == rows
    page = (tmp_path / "m.html").read_text(encoding="utf-8")
    assert "<h1>films</h1>" in page
    assert "DOE" not in page


def test_index_says_what_is_odd(cli: Cli, films: Path, tmp_path: Path) -> None:
    with open(films / "t.csv", "a") as table:
        table.write("0.png,,1\n")
    told = cli("data", "index", "csv", films, "--out", tmp_path / "m.parquet", COLUMNS, "--no-survey").out
    assert told.splitlines()[1:3] == [
        "Mind: 2 rows name an image that another row names too ('0.png' first): each row is a record of its own.",
        "Mind: 1 of 7 rows have no patient: a split by patient refuses them, fill in or drop them.",
    ]


def test_a_label_that_is_no_number_is_told_with_its_line(cli: Cli, films: Path, tmp_path: Path) -> None:
    (films / "t.csv").write_text((films / "t.csv").read_text().replace("2.png,DOE^JANE-1,-1", "2.png,DOE^JANE-1,yes"))
    for more in ((), ("where={file: 2.png}",)):  # in the second it is the first row
        words = ["data", "index", "csv", films, "--out", tmp_path / "m.parquet", COLUMNS, "--no-survey", *more]
        told = cli(*words).refused()
        assert "t.csv, line 4: the column 'label.edema' must hold numbers" in told
        assert "is 'yes'): leave unknown ones blank" in told


def test_index_again_tells_what_changed_and_reads_only_that(cli: Cli, films: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.parquet"
    words = ["data", "index", "csv", films, "--out", out, COLUMNS, "--workers", "0"]
    cli(*words)
    assert "Against the manifest that was there: no difference." in cli(*words).out
    before = Manifest.load(out)
    shutil.copy(films / "0.png", films / "3.png")  # mended
    shutil.copy(films / "0.png", films / "5.png")  # another picture
    told = cli(*words).out
    assert "Against the manifest that was there: 1 new; 1 with another file." in told
    assert "quarantine" not in told
    assert not (tmp_path / "m.quarantine.csv").exists()
    after = Manifest.load(out)
    assert len(after) == 6
    assert after.hash != before.hash
    assert "quarantined" in after.meta


def test_tables_only_opens_no_file(cli: Cli, films: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.parquet"
    told = cli("data", "index", "csv", films, "--out", out, COLUMNS, "--no-survey").out
    assert told.startswith(f"{out}: 6 records, columns id, image, id.patient, label.edema.\n")
    assert "The files were not opened" in (tmp_path / "m.html").read_text(encoding="utf-8")
    assert "quarantined" not in Manifest.load(out).meta


def test_a_folder_in_the_place_of_a_table_of_the_index_is_told_before_anything_is_written(
    cli: Cli, films: Path, tmp_path: Path
) -> None:
    (tmp_path / "m.quarantine.csv").mkdir()
    told = cli("data", "index", "csv", films, "--out", tmp_path / "m.parquet", COLUMNS).refused()
    assert "m.quarantine.csv is a folder: name a file to write" in told
    assert not (tmp_path / "m.html").exists()


def test_the_page_goes_where_it_is_asked_for(cli: Cli, films: Path, tmp_path: Path) -> None:
    words = ["data", "index", "csv", films, "--out", tmp_path / "m.parquet", COLUMNS, "--no-survey"]
    assert "Open" not in cli(*words, "--no-page").out
    assert not (tmp_path / "m.html").exists()
    assert cli(*words, "--page", tmp_path / "pages").out.endswith(f"Open {tmp_path / 'pages' / 'm.html'}\n")
    assert cli(*words, "--page", tmp_path / "a.html").out.endswith(f"Open {tmp_path / 'a.html'}\n")
    assert "exclude each other" in cli(*words, "--page", tmp_path / "b.html", "--no-page").refused()


def test_the_phantom_is_called_synthetic(cli: Cli, tiny_cohort: CohortSummary, tmp_path: Path) -> None:
    assert cli("data", "index", "phantom", tiny_cohort.root, "--out", tmp_path / "m.parquet").code == 0
    page = (tmp_path / "m.html").read_text(encoding="utf-8")
    assert "<strong>Synthetic data.</strong>" in page
    assert "Nothing about clinical performance." in page


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["csv", "{root}/none", "--out", "{tmp}/m.parquet", COLUMNS], "{root}/none is no folder: give"),
        (["csv", "{root}/t.csv", "--out", "{tmp}/m.parquet", COLUMNS], "{root}/t.csv is no folder: give"),
        (["csv", "{root}", "--out", "{tmp}/m.csv", COLUMNS], "The manifest {tmp}/m.csv is written as Parquet: give"),
        (["csv", "{root}", "--out", "{root}/m.parquet", COLUMNS], "The manifest {root}/m.parquet is a folder: giv"),
        (["csv", "{root}", "--out", "{tmp}/m.parquet"], "options.columns is missing: give it a value"),
        (["csv", "{root}", "--out", "{tmp}/m.parquet", COLUMNS, "tabel=t.csv"], "options.tabel is not a known key"),
        (["csv", "{root}", "--out", "{tmp}/m.parquet", COLUMNS, "table"], "Override 'table' is not of the form"),
        (["csv", "{root}", "--out", "{tmp}/m.parquet", "columns={image: fil}"], "has no column 'fil': did you mean"),
        (["phantom", "{root}", "--out", "{tmp}/m.parquet"], "{root} holds no complete phantom cohort"),
    ],
)
def test_what_a_user_gets_wrong_is_one_sentence_and_nothing_is_written(
    cli: Cli, films: Path, tmp_path: Path, words: list[str], sentence: str
) -> None:
    (films / "m.parquet").mkdir()
    told = cli("data", "index", *(word.replace("{root}", str(films)).replace("{tmp}", str(tmp_path)) for word in words))
    assert sentence.replace("{root}", str(films)).replace("{tmp}", str(tmp_path)) in told.refused()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["films"]


def test_a_cohort_of_which_nothing_can_be_read_leaves_no_manifest(cli: Cli, films: Path, tmp_path: Path) -> None:
    for path in films.glob("*.png"):
        path.write_bytes(b"")
    told = cli("data", "index", "csv", films, "--out", tmp_path / "m.parquet", COLUMNS, "--workers", "0").refused()
    assert "None of the 6 records can be read (6 empty)" in told
    assert not (tmp_path / "m.parquet").exists()


# shard ---------------------------------------------------------------------------------------------------------------


def test_shard_packs_a_manifest_that_other_commands_read(cli: Cli, films: Path, tmp_path: Path) -> None:
    listed, out = tmp_path / "m.parquet", tmp_path / "shards"
    cli("data", "index", "csv", films, "--out", listed, COLUMNS, "--no-survey", "--no-page")
    (films / "2.png").unlink()
    words = cli("data", "shard", listed, out, "--size", 1).out.splitlines()
    assert words == [
        f"{out}/manifest.parquet: 5 records in 1 shard; train on it as on any manifest.",
        f"{out}/quarantine.csv: left out, because a file cannot be read: 1.",
    ]
    # The size is in MiB (2^20 bytes), as the help says: with another one the shards are refused.
    assert len(shard_manifest(Manifest.load(listed), out, size=2**20).quarantined) == 1
    assert "MiB after which a shard is closed" in cli("data", "shard", "--help").out
    assert json.loads(cli("data", "shard", listed, out, "--size", 1, "--json").out) == {
        "manifest": f"{out}/manifest.parquet", "shards": 1, "records": 5, "quarantined": 1,
    }  # fmt: skip
    shutil.rmtree(films)
    found = tmp_path / "split.parquet"
    assert cli("data", "split", out / "manifest.parquet", "--rule", "patient", "--out", found).code == 0
    assert len(Manifest.load(found)) == 5
    assert cli("data", "check", found, "--json").code == 0
    assert "holds shards of another manifest or size" in cli("data", "shard", listed, out, "--size", 2).refused()
    assert "run `medvlp data deidentify` first" in " ".join(
        cli("data", "shard", "--help").out.replace("│", " ").split()
    )
