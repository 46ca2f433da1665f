"""A run folder holds all that its page needs, and damage in it is named."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from medvlp.core.errors import DataError
from medvlp.evaluation.classification import evaluate_scores
from medvlp.evaluation.results import write_result
from medvlp.pages.gallery_files import read_gallery, write_gallery
from medvlp.pages.inputs import Box, GalleryItem, Quarantined, RetrievalExample, RetrievalHit
from medvlp.pages.record import DataFacts, ModelFacts, Record
from medvlp.pages.render import render_report
from medvlp.pages.run_folder import read_run, write_report_page

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32), dtype=np.uint8)
GALLERY = (
    GalleryItem(
        image=PICTURE,
        finding="effusion",
        score=0.5,
        boxes=(Box(1, 2, 3, 4, "left"),),
        heat_map=np.linspace(0, 1, 256).reshape(16, 16),
        truth="left",
        sentence="Left effusion.",
        note="PA",
    ),
    GalleryItem(image=np.stack([PICTURE] * 3, axis=2), finding="edema", score=-1.0),
)
HITS = (RetrievalHit(rank=1, text="Left effusion.", score=0.25, correct=True),)
EXAMPLES = (RetrievalExample(image=PICTURE, hits=HITS, expected_rank=1.5, pool=12, relevant=2, note="n"),)


@pytest.fixture
def run(tmp_path):
    label = np.arange(30) % 3 == 0
    table = pd.DataFrame(
        {"id": range(30), "patient_id": range(30), "label:effusion": label.astype(int), "score:effusion": label * 1.0}
    )
    result = evaluate_scores(table, seed=0, resamples=20, name="linear_probe")
    write_result(result, tmp_path / "results" / "linear_probe.json")
    fitted = {"effusion": {"operating_points": {}}}
    write_result(replace(result, name="zero_shot", fitted=fitted), tmp_path / "results" / "zero_shot.json")
    write_result(replace(result, name="a_thumbnail", role="control"), tmp_path / "results" / "a_thumbnail.json")
    write_gallery(tmp_path, GALLERY, EXAMPLES)
    towers = "{vision: {name: timm, architecture: resnet10t}, text: {name: transformer}}"
    (tmp_path / "config.yaml").write_text(f"seed: 3\nmodel: {towers}\nphases: [{{objectives: [{{name: clip}}]}}]\n")
    (tmp_path / "environment.json").write_text('{"python": "3.11"}')
    (tmp_path / "data.json").write_text(
        '{"manifest_hash": "abc", "quarantined": [{"id": "S1", "reason": "truncated"}]}'
    )
    (tmp_path / "log.jsonl").write_text('{"samples_seen": 64, "loss": 2.0}\n{"samples_seen": 128, "loss": 1.0}\n{"samp')
    return tmp_path


def test_a_run_is_read_whole_models_first_and_controls_last(run) -> None:
    inputs = read_run(run)
    assert [result.name for result in inputs.results] == ["zero_shot", "linear_probe", "a_thumbnail"]
    assert inputs.title == "A vision-language model in training"
    os.utime(run / "results" / "zero_shot.json", (2e9, 2e9))
    assert read_run(run).date == datetime.fromtimestamp(2e9, tz=UTC).date().isoformat() == "2033-05-18"
    record = Record(model=ModelFacts(name="b"), data=DataFacts(manifest="d"), results=("linear_probe", "zero_shot"))
    record.write(run / "evaluation.json")
    assert [result.name for result in read_run(run).results] == ["linear_probe", "zero_shot", "a_thumbnail"]
    assert [row["loss"] for row in inputs.log] == [2.0, 1.0]  # the torn line of a killed run is left out
    assert inputs.quarantined == (Quarantined("S1", "truncated"),)
    assert inputs.provenance == {"seed": 3, "manifest_hash": "abc"}
    assert inputs.environment == {"python": "3.11"}


def test_the_gallery_comes_back_as_it_was(run) -> None:
    items, examples = read_gallery(run)
    for got, kept in zip(items, GALLERY, strict=True):
        assert np.array_equal(got.image, kept.image)
        assert (got.finding, got.score, got.boxes, got.truth, got.sentence, got.note) == (
            kept.finding,
            kept.score,
            kept.boxes,
            kept.truth,
            kept.sentence,
            kept.note,
        )
    assert items[0].heat_map == pytest.approx(GALLERY[0].heat_map, abs=0.5 / 255)
    assert items[1].heat_map is None
    assert np.array_equal(examples[0].image, PICTURE)
    assert (examples[0].hits, examples[0].expected_rank, examples[0].pool, examples[0].relevant) == (HITS, 1.5, 12, 2)


def test_the_page_of_a_run_is_the_page_of_what_was_read(run) -> None:
    write_report_page(run, run / "report.html")
    assert (run / "report.html").read_text(encoding="utf-8") == render_report(read_run(run))


def test_a_lone_results_file_has_a_page(run, tmp_path) -> None:
    write_report_page(run / "results" / "zero_shot.json", tmp_path / "one.html")
    assert "Results: zero shot" in (tmp_path / "one.html").read_text(encoding="utf-8")


def test_a_folder_without_results_is_refused(tmp_path) -> None:
    with pytest.raises(DataError, match=r"has no results/\*\.json to make a page of: run `medvlp evaluate` first"):
        write_report_page(tmp_path, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_damage_is_named(run) -> None:
    (run / "log.jsonl").write_text('{"samples_seen": 64\n{"samples_seen": 128, "loss": 1.0}\n')
    with pytest.raises(DataError, match=r"log\.jsonl line 1 is not JSON"):
        read_run(run)
    (run / "log.jsonl").unlink()
    (run / "config.yaml").write_text("a: [1")
    with pytest.raises(DataError, match=r"config\.yaml cannot be read as YAML") as refused:
        read_run(run)
    assert "\n" not in str(refused.value)
    (run / "config.yaml").unlink()
    (run / "results" / "gallery" / "picture-000.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"gallery\.json or a picture that it names cannot be read"):
        read_run(run)


def test_a_gallery_cannot_name_a_file_elsewhere(run) -> None:
    path = run / "results" / "gallery.json"
    document = json.loads(path.read_text())
    document["gallery"][0]["image"] = "../../secret.png"
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match="is not a picture's file name"):
        read_gallery(run)
