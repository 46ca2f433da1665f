"""Published splits: the release's own, others' rebuilt by their rule, and flaws that stay visible."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medvlp.core import resources
from medvlp.core.errors import DataError
from medvlp.data.cards import cards, load_card
from medvlp.data.manifest import Manifest
from medvlp.data.splits import make_split, split_caveats
from medvlp.data.splits._draw import carry_out, read_draw

STEPS = """
          - {of: all, into: [train, rest], second: 0.3, seed: 0}
          - {of: rest, into: [test, validate], second: 0.5, seed: 0}
"""
CARD = f"""---
name: NAME
title: A set
modality: [cxr]
licence: CC0
access: open
splits:
  official: {{title: t, rule: column, unit: patient, source: the release, options: {{counts: {{train: 6}}}}}}
  merged: {{title: t, rule: column, unit: patient, source: s, options: {{rename: {{test: validate}}}}}}
  lists: {{title: t, rule: lists, unit: image, source: s, options: {{files: {{train: a.txt, test: b.txt}}}}}}
  shipped: {{title: t, rule: ids, unit: image, source: A paper, flaw: images on both sides}}
  vague: {{title: t, rule: fractions, unit: image, source: B paper, options: {{fractions: {{train: 1}}, seed: 0}}}}
  none: {{title: nobody made one, rule: none, unit: image, source: s}}
  sorted:
    title: t
    rule: fractions
    unit: patient
    source: C paper
    options:
      draw:
        by: id.patient
        count: 10
        steps: {STEPS}
  file_rows:
    title: t
    rule: fractions
    unit: row
    source: D paper
    flaw: rows of one image stand on several sides.
    options:
      draw:
        units: rows
        file: rle.csv
        column: ImageId
        steps: {STEPS}
---
prose
"""


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A card of a name that no other test uses: cards are remembered by name."""
    name = f"card_{tmp_path.name}"
    (tmp_path / "data_cards").mkdir()
    (tmp_path / "data_cards" / f"{name}.md").write_text(CARD.replace("NAME", name))
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "medvlp")
    return name


@pytest.fixture
def release(tmp_path: Path, card: str) -> Manifest:
    """Ten patients of one image each; the first five images have three rows of a table, the others one."""
    (tmp_path / "rle.csv").write_text(
        "ImageId, EncodedPixels\n" + "".join(f"i{i},1 2\n" * (3 if i < 5 else 1) for i in range(10))
    )
    columns = {
        "id": [f"i{i}" for i in range(10)],
        "text": ["x"] * 10,
        "id.patient": [f"p{9 - i}" for i in range(10)],
        "split": ["train"] * 6 + ["validate"] * 2 + ["test"] * 2,
    }
    return Manifest.of(columns, root=tmp_path, meta={"layout": card})


def drawn(units: list[str]) -> dict[str, set[str]]:
    """What GLoRIA's and MGCA's scripts do with a frame of these rows."""
    from sklearn.model_selection import train_test_split

    train, rest = train_test_split(units, test_size=0.15 * 2, random_state=0)
    test, validate = train_test_split(rest, test_size=0.5, random_state=0)
    return {"train": set(train), "validate": set(validate), "test": set(test)}


def test_the_official_split_is_the_column_of_the_release(release: Manifest) -> None:
    split = make_split(release, "official")
    assert split.parts["test"] == ("i8", "i9")
    assert (split.name, split.source, split.flaw) == ("official", "the release", "")
    assert split.caveats(release) == ()
    assert make_split(release, "merged").parts["validate"] == ("i6", "i7", "i8", "i9")


def test_a_column_that_was_overwritten_or_is_missing_is_not_the_release(release: Manifest) -> None:
    other = make_split(release, "patient").apply(release)
    with pytest.raises(DataError, match="stood in the column split, which 'patient' has replaced: index the"):
        make_split(other, "official")
    bare = Manifest.of({"id": ["i0"], "text": ["x"]}, root=release.root, meta=release.meta)
    with pytest.raises(DataError, match="the manifest has no column split: index it by the layout"):
        make_split(bare, "official")


def test_a_release_that_is_not_whole_is_told_by_its_counts(release: Manifest) -> None:
    some = release.take(np.arange(2, 10))
    assert make_split(some, "official").caveats(some) == ("Records differ from the card's: train 4 rather than 6.",)


def test_a_draw_by_patient_is_that_of_the_function_that_was_called(release: Manifest) -> None:
    shuffled = release.take(np.random.Generator(np.random.Philox(0)).permutation(10))
    patient = dict(zip(release.column("id"), release.column("id.patient"), strict=True))
    for manifest in (release, shuffled):
        split = make_split(manifest, "sorted")
        assert {part: {patient[i] for i in ids} for part, ids in split.parts.items()} == drawn(
            [f"p{i}" for i in range(10)]
        )


def of_patients(release: Manifest, patients: list[str]) -> Manifest:
    ids = [f"i{k}" for k in range(len(patients))]
    columns = {"id": ids, "text": ["x"] * len(ids), "id.patient": patients}
    return Manifest.of(columns, root=release.root, meta=release.meta)


def test_a_draw_by_patient_counts_a_patient_of_several_images_once(release: Manifest) -> None:
    twice = [f"p{k}" for k in range(10)] * 2
    split = make_split(of_patients(release, twice), "sorted")
    people = {part: {twice[int(i[1:])] for i in ids} for part, ids in split.parts.items()}
    assert people == drawn([f"p{i}" for i in range(10)])
    assert split.repeated == 0


def test_a_draw_from_fewer_or_more_units_is_refused(release: Manifest) -> None:
    with pytest.raises(DataError, match="drawn from 10 units and there are 9, so the same draw gives other parts"):
        make_split(release.take(np.arange(9)), "sorted")
    with pytest.raises(DataError, match="drawn from 10 units and there are 11"):
        make_split(of_patients(release, [f"p{k}" for k in range(11)]), "sorted")


def test_a_draw_by_row_is_rebuilt_with_its_leak_and_says_so(release: Manifest) -> None:
    split = make_split(release, "file_rows")
    image = [f"i{i}" for i in range(10) for _ in range(3 if i < 5 else 1)]
    rows = drawn([str(i) for i in range(20)])
    assert {part: set(ids) for part, ids in split.parts.items()} == {
        part: {image[int(row)] for row in found} for part, found in rows.items()
    }
    assert split.repeated > 0
    placed = split.apply(release)
    assert len(placed) == 10 + split.repeated
    told = split.caveats(release)
    assert told[0].endswith("has a known flaw: rows of one image stand on several sides.")
    assert told[0] == split_caveats(placed)[0]
    assert "Records in more than one part, repeated as in the original: " in told[1]


def test_lists_of_the_release_lie_in_its_root_or_where_the_user_says(release: Manifest, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"The list a\.txt is neither in the working folder nor in"):
        make_split(release, "lists")
    (tmp_path / "a.txt").write_text("i0\ni1\n")
    (tmp_path / "elsewhere.txt").write_text("i2\n")
    (tmp_path / "b.txt").write_text("i9\n")
    assert make_split(release, "lists").parts == {"train": ("i0", "i1"), "test": ("i9",)}
    chosen = {"train": str(tmp_path / "a.txt"), "test": str(tmp_path / "elsewhere.txt")}
    assert make_split(release, {"name": "lists", "files": chosen}).parts["test"] == ("i2",)


def test_a_split_that_its_makers_keep_as_lists_asks_for_them(release: Manifest, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"kept as lists of ids; made by A paper\): get its lists from there"):
        make_split(release, "shipped")
    with pytest.raises(DataError, match=r"the card does not say how it was drawn; made by B paper"):
        make_split(release, "vague")
    (tmp_path / "s.csv").write_text("id,split\ni0,train\ni1,val\ni0,test\n")
    split = make_split(release, {"name": "shipped", "table": "s.csv"})
    assert split.parts == {"train": ("i0",), "validate": ("i1",), "test": ("i0",)}
    assert split.flaw == "images on both sides"


def test_a_split_that_is_not_there_names_those_that_are(release: Manifest, card: str) -> None:
    with pytest.raises(DataError, match=rf"The card {card} has no split 'oficial': did you mean 'official'"):
        make_split(release, "oficial")
    with pytest.raises(DataError, match=r"has no split 'patients': did you mean 'patient'\?"):
        make_split(release, "patients")
    with pytest.raises(DataError, match=r"does not exist \(nobody made one\): choose a rule, e\.g\. \{name: patient\}"):
        make_split(release, "none")
    bare = Manifest.of({"id": ["i0"], "text": ["x"]}, root=release.root, meta={"layout": "csv"})
    with pytest.raises(DataError, match="the layout 'csv', which has no card"):
        make_split(bare, "official")


@pytest.mark.parametrize("name", cards())
def test_every_draw_of_a_card_can_be_carried_out(name: str) -> None:
    for facts in load_card(name).splits.values():
        if "draw" in facts.options:
            draw = read_draw(facts.options["draw"], where=name)
            assert set(draw.parts) == set(facts.options["names"])


def test_faults_of_a_draw_are_told() -> None:
    with pytest.raises(DataError, match=r"x\.steps is .*at least 1"):
        read_draw({"by": "id", "steps": []}, where="x")
    for wrong, told in (
        ({"by": "id", "steps": [{"of": "rest", "into": ["a", "b"], "second": 1, "seed": 0}]}, "a step cuts 'rest'"),
        ({"steps": [{"into": ["a", "b"], "second": 1, "seed": 0}]}, "give file or by"),
        ({"by": "id", "steps": [{"into": ["a", "b"], "seed": 0}]}, r"steps\[0\]\.second"),
    ):
        with pytest.raises(DataError, match=told):
            read_draw(wrong, where="x")


# the real label tables ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table() -> Callable[[str], Path]:
    """Give a label table of the package torchxrayvision, or skip."""
    from importlib.util import find_spec

    def find(name: str) -> Path:
        spec = find_spec("torchxrayvision")
        if spec is None or spec.origin is None:
            pytest.skip(f"torchxrayvision is not installed, which holds {name}")
        return Path(spec.origin).parent / "data" / name

    return find


def test_glorias_split_of_the_real_rsna_table_has_its_published_sizes(table: Callable[[str], Path]) -> None:
    import pandas as pd

    names = sorted(set(pd.read_csv(table("kaggle_stage_2_train_labels.csv.zip"))["patientId"]))
    assert len(names) == 26684
    steps = [
        {"into": ["train", "rest"], "second": 0.3, "seed": 0},
        {"of": "rest", "into": ["test", "validate"], "second": 0.5, "seed": 0},
    ]
    parts = carry_out(read_draw({"by": "id", "count": 26684, "steps": steps}, where="gloria"), names)
    assert {part: len(found) for part, found in parts.items()} == {"train": 18678, "validate": 4003, "test": 4003}
    detection = [{"into": ["train", "rest"], "second": 10674, "seed": 0}, steps[1]]
    parts = carry_out(read_draw({"by": "id", "steps": detection}, where="mgca"), names)
    assert {part: len(found) for part, found in parts.items()} == {"train": 16010, "validate": 5337, "test": 5337}
