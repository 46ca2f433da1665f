"""A leaking split stops a run; let pass, it is told wherever the run's numbers are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from medvlp.config.tree import DataConfig
from medvlp.core.errors import DataError
from medvlp.data.label_reports import label_caveats
from medvlp.data.leakage import check_split
from medvlp.data.manifest import Manifest
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.results import Counts, Metric, Result, load_result, write_result
from medvlp.pages.run_folder import write_report_page
from medvlp.runs.data import open_manifest
from tests.data.films import film, inverted, write
from tests.messages import messages

CAVEAT = "The split leaks (1 by near_image) and was used all the same: numbers on it are too good."


@pytest.fixture
def data(tmp_path: Path) -> dict[str, object]:
    """Six films of six patients, and the negative of a training film in the test."""
    names = [write(tmp_path, f"{number}.png", film(number)) for number in range(6)]
    names.append(write(tmp_path, "negative.png", inverted(film(0))))
    columns = {"id": names, "image": names, "id.patient": names, "split": ["train"] * 4 + ["test"] * 3}
    Manifest.of(columns, root=tmp_path).save(tmp_path / "m.parquet")
    return {"root": str(tmp_path), "manifest": str(tmp_path / "m.parquet")}


def opened(data: dict[str, object], **options: object) -> Manifest:
    return open_manifest(DataConfig.model_validate({**data, **options}))


def test_copies_stop_a_run_when_asked_for_or_when_a_survey_was_made(data: dict[str, object]) -> None:
    # Nobody has looked at the images: a run does not decode them all before its first step.
    assert opened(data).meta["leaks"] == {"found": {}, "near_images": False}
    with pytest.raises(DataError, match=r"leaks \(1 by near_image\).*or set data\.allow_leaks=true"):
        opened(data, near_images=True)
    # Now they are known, and are looked at unless the configuration says no.
    with pytest.raises(DataError, match="leaks"):
        opened(data)
    assert opened(data, near_images=False).meta["leaks"] == {"found": {}, "near_images": False}


def test_a_leak_let_pass_is_told_by_results_and_page(data: dict[str, object], tmp_path: Path) -> None:
    config = DataConfig.model_validate({**data, "near_images": True, "allow_leaks": True})
    with messages() as told:
        manifest = open_manifest(config)
    assert told == [CAVEAT]
    rows = (
        Metric(metric="auroc", label="edema", value=0.9, counts=Counts(n=6, positives=3, patients=6)),
        Metric(metric="auroc", label="macro", value=0.9, counts=Counts(n=6, patients=6, labels_used=1)),
    )
    result = Result(name="zero_shot", metrics=rows)
    bundle = SimpleNamespace(provenance={"split_flaw": CAVEAT})
    evaluation = SimpleNamespace(whole=manifest, model=SimpleNamespace(bundle=bundle), synthetic=True, recipe="r")
    evaluation.manifest = manifest
    manifest.meta["labels_read"] = "nih14"
    (read,) = label_caveats(manifest)
    marked = Evaluation.marked(evaluation, result)  # type: ignore[arg-type]
    assert (marked.recipe, marked.data) == ("r", manifest.hash)
    own = Evaluation.marked(evaluation, replace(result, recipe="other"))  # type: ignore[arg-type]
    assert (own.recipe, own.data) == ("other", manifest.hash)
    assert marked.caveats == (CAVEAT, read, f"The model's training: {CAVEAT}")
    write_result(marked, tmp_path / "run" / "results" / "zero_shot.json")
    assert load_result(tmp_path / "run" / "results" / "zero_shot.json").caveats == marked.caveats
    write_report_page(tmp_path / "run", tmp_path / "page.html")
    assert CAVEAT in (tmp_path / "page.html").read_text()


def test_what_was_found_stays_with_the_rows_that_are_taken(data: dict[str, object]) -> None:
    manifest = opened(data, near_images=True, allow_leaks=True)
    assert manifest.split_of("test").meta["leaks"] == {"found": {"near_image": 1}, "near_images": True}
    assert check_split(manifest, near=True)
