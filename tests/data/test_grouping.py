"""Reconstructions of a scan are one sample, or known as the same study; pictures of a study become one stack."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medvlp.core.context import Context
from medvlp.core.errors import DataError
from medvlp.core.keys import parse_key
from medvlp.core.parts import Part
from medvlp.data.collate import collate
from medvlp.data.grouping import keep_one, pair_images, stack_images, with_patients
from medvlp.data.manifest import Manifest
from medvlp.data.pipeline import Records
from medvlp.objectives._targets import pairs


def scans() -> Manifest:
    columns: dict[str, list[object]] = {
        "id": ["a1", "a2", "a3", "b1", "c1", "c2", "d"],
        "volume": ["1", "2", "3", "4", None, "6", "7"],
        "id.study": ["a", "a", "a", "b", "c", "c", None],
        "id.patient": ["p", "p", "p", "q", "r", "r", "s"],
        "kernel": ["B60f", "Br40d", "B30f", "B60f", "B30f", "B60f", None],
        "text": ["Clear."] * 3 + ["Nodule."] + ["Clear."] * 3,
    }
    return Manifest.of(columns, root=Path())


def test_the_first_with_a_file_is_kept_and_the_others_are_listed() -> None:
    kept = keep_one(scans())
    assert kept.column("id").tolist() == ["a1", "b1", "c2", "d"]
    assert kept.meta["skipped"] == {"other_reconstruction": ["a2", "a3", "c1"]}
    assert "skipped" not in scans().meta


def test_a_study_that_is_a_number_within_a_patient_is_not_that_of_the_next_patient() -> None:
    """Visits 1, 2, 3 of each patient: grouped, the first visits of all patients became one stack of nobody."""
    visits = {"id": list("abcd"), "image": list("1234"), "id.patient": ["p", "p", "q", "q"]}
    numbered = Manifest.of({**visits, "id.study": ["1", "2", "1", "2"]}, root=Path())
    for group in (stack_images, keep_one, pair_images):
        with pytest.raises(DataError, match=r"Studies of several patients: 2 \(one with 'a'\); index them"):
            group(numbered)
    named = numbered.with_column("id.study", ["p/1", "p/2", "q/1", None])
    assert len(stack_images(named.with_column("id.patient", ["p", None, "q", "q"]))) == 4
    assert len(stack_images(with_patients(numbered, "id"))) == 2  # each image a patient, as none is known


def test_the_preferred_kernel_is_kept_where_there_is_one() -> None:
    assert keep_one(scans(), prefer=["br40d", "B30F"]).column("id").tolist() == ["a2", "b1", "c2", "d"]
    assert keep_one(scans(), prefer=["B30f"]).column("id").tolist() == ["a3", "b1", "c2", "d"]
    with pytest.raises(DataError, match="no column 'reconstruction'"):
        keep_one(scans(), prefer=["1"], column="reconstruction")


def test_all_reconstructions_of_a_scan_are_the_same_study_and_never_negatives() -> None:
    """Where all are kept, a loss that asks for it takes none for another's negative, whatever the reports say."""
    manifest = scans().with_column("text", [f"Report {n}." for n in range(7)])
    samples = [Records(manifest).sample(row, paths=False) for row in range(7)]
    batch = collate(samples, torch.arange(7), fields=("id.study",))
    parts = {parse_key(f"{v}/embedding"): Part(torch.randn(7, 4), torch.arange(7)) for v in ("stack", "text")}
    groups = ["a", "a", "a", "b", "c", "c", "d"]
    same = torch.tensor([[one == other for other in groups] for one in groups])
    ctx = Context(parts=parts, batch=batch)
    names = {"rows": "stack/embedding", "columns": "text/embedding", "text": "text"}
    assert torch.equal(ctx.same("study", rows="stack", columns="text"), same)
    assert torch.equal(pairs(ctx, "same_study", "none", **names).target, same)
    found = pairs(ctx, "own", "same_study", **names)
    assert torch.equal(found.target, torch.eye(7, dtype=torch.bool))
    assert found.exclude is not None
    assert torch.equal(found.exclude | found.target, same)


def views() -> Manifest:
    columns: dict[str, list[object]] = {
        "id": ["f", "l", "g", "n"],
        "image": ["f.png", "l.png", "g.png", None],
        "id.study": ["s", "s", "t", None],
        "id.patient": ["p", "p", "q", "q"],
        "text": ["Clear.", "Clear.", None, "Words."],
        "view_position": ["PA", "LL", "AP", None],
        "sex": ["F", "F", "M", "M"],
        "age": [60, 60, 50, 50],
        "label.effusion": [0, 1, -1, None],
        "label.nodule": [0, -1, None, 0],
        "boxes.nodule": [[[0.0, 0.0, 1.0, 1.0]], None, None, None],
    }
    return Manifest.of(columns, root=Path())


def test_pictures_of_a_study_become_one_row_with_what_all_agree_on() -> None:
    made = stack_images(views())
    assert made.record(0) == {
        "stack": ["f.png", "l.png"], "id": "f", "id.study": "s", "id.patient": "p", "text": "Clear.", "sex": "F",
        "age": 60, "label.effusion": 1.0, "label.nodule": -1.0,
    }  # fmt: skip
    assert made.record(1) == {
        "stack": ["g.png"], "id": "g", "id.study": "t", "id.patient": "q", "view_position": "AP", "sex": "M",
        "age": 50, "label.effusion": -1.0,
    }  # fmt: skip
    assert made.record(2) == {
        "id": "n", "id.patient": "q", "text": "Words.", "sex": "M", "age": 50, "label.nodule": 0.0,
    }  # fmt: skip


def test_different_words_are_joined() -> None:
    made = stack_images(views().with_column("text", ["One.", "Two.", "x", "y"]))
    assert made.record(0)["text"] == "One.\n\nTwo."


def test_a_study_in_two_splits_is_refused() -> None:
    with pytest.raises(DataError, match=r"Groups by id.study in several splits: 1 \(one with 'f'\): split by patient"):
        stack_images(views().with_column("split", ["train", "test", "train", "train"]))


def test_pictures_of_a_study_are_paired_in_a_ring_and_a_single_one_with_itself() -> None:
    columns: dict[str, list[object]] = {
        "id": list("abcdefg"),
        "image": ["1", "2", "3", "4", None, "6", "7"],
        "id.study": ["s", "t", "s", "s", "u", "u", None],
    }
    paired = pair_images(Manifest.of(columns, root=Path()))
    assert paired.column("image.other").tolist() == ["3", "2", "4", "1", None, "6", "7"]
    assert paired.column("image").tolist() == columns["image"]
    chosen = paired.take([0])  # the other picture stays although its row goes
    assert Records(chosen).sample(0).fields["image.other"].endswith("3")
    with pytest.raises(DataError, match="no column 'image'"):
        pair_images(scans())
