"""An evaluation into the folder of an earlier one leaves none of that one's numbers for its page to show."""

from __future__ import annotations

from pathlib import Path

import pytest

from medvlp.core.errors import ConfigError, DataError, UserError
from medvlp.core.processes import exclusive
from medvlp.pages.record import DataFacts, ModelFacts, Record
from medvlp.pages.run_folder import write_report_page
from medvlp.phantom.cohort import CohortSummary
from medvlp.runs import evaluate as evaluation
from medvlp.runs.evaluate import evaluate, forget_earlier, load_evaluation
from medvlp.runs.train import Trained

NAMES = ("zero_shot.json", "predictions.parquet", "thumbnail.json", "thumbnail.parquet", "gallery.json")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    (folder / "gallery").mkdir(parents=True)
    for name in (*NAMES, "gallery/picture-000.png", "mine.json", "mine.parquet"):
        (folder / name).write_text("{}")
    record = Record(model=ModelFacts(name="b"), data=DataFacts(manifest="d"), results=("zero_shot", "thumbnail"))
    record.write(tmp_path / "evaluation.json")
    return tmp_path


def _there(out: Path) -> set[str]:
    return {str(path.relative_to(out / "results")) for path in (out / "results").rglob("*") if path.is_file()}


def test_results_pictures_and_at_last_the_record_go_and_what_somebody_put_there_stays(out: Path) -> None:
    forget_earlier(out)
    assert _there(out) == {"mine.json", "mine.parquet"}
    assert not (out / "evaluation.json").exists()
    forget_earlier(out)  # there is none
    assert _there(out) == {"mine.json", "mine.parquet"}


@pytest.mark.parametrize("record", [None, "{"])
def test_where_nobody_knows_what_an_earlier_one_wrote_nothing_is_removed(out: Path, record: str | None) -> None:
    before = _there(out)
    (out / "evaluation.json").unlink()
    if record is not None:
        (out / "evaluation.json").write_text(record)
    forget_earlier(out)
    assert _there(out) == before


def test_an_evaluation_that_is_stopped_while_it_draws_leaves_the_earlier_one_as_it_was(
    out: Path, tiny_run: Trained, tiny_cohort: CohortSummary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its results, which no record names, would stand on the page of the next one, of another model."""
    before, record = _there(out), (out / "evaluation.json").read_text()
    words = [f"model={tiny_run.bundle}", f"out={out}", f"data.root={tiny_cohort.root}", "data.allow_leaks=true"]
    words += [f"evaluation.{word}" for word in ("split=train", "resamples=100", "gallery=2", "measures.grounding=null")]

    def stopped(*given: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "gallery_of", stopped)
    with pytest.raises(KeyboardInterrupt):
        evaluate(load_evaluation("evaluate/phantom.yaml", [*words, "evaluation.measures.probes=null"]))
    assert (_there(out), (out / "evaluation.json").read_text()) == (before, record)


def test_what_an_evaluation_wrote_that_was_stopped_before_its_record_goes_with_the_next_one(
    out: Path, tiny_run: Trained, tiny_cohort: CohortSummary, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [f"model={tiny_run.bundle}", f"out={out}", f"data.root={tiny_cohort.root}", "data.allow_leaks=true"]
    words += [f"evaluation.{word}" for word in ("split=train", "resamples=100", "gallery=0", "measures.grounding=null")]

    def stopped(*given: object, **options: object) -> None:
        raise KeyboardInterrupt

    refused = [*words, "evaluation.into_bundle=true", "evaluation.fit=null"]
    with pytest.raises(ConfigError, match="nothing was chosen"):
        evaluate(load_evaluation("evaluate/phantom.yaml", refused))
    assert (out / "evaluation.json").exists(), "what is refused takes nothing away"
    monkeypatch.setattr(evaluation, "evaluation_record", stopped)
    with pytest.raises(KeyboardInterrupt):
        evaluate(load_evaluation("evaluate/phantom.yaml", words))
    assert not (out / "evaluation.json").exists()
    assert "laterality.json" in _there(out)
    with pytest.raises(DataError, match="stopped before it was recorded what they are of, or that is not done: run"):
        write_report_page(out, out / "report.html")
    forget_earlier(out)
    assert _there(out) == {"mine.json", "mine.parquet"}
    assert not [*out.glob(".evaluation.begun")]


def test_two_evaluations_do_not_write_one_folder(out: Path, tiny_run: Trained, tiny_cohort: CohortSummary) -> None:
    words = [f"model={tiny_run.bundle}", f"out={out}", f"data.root={tiny_cohort.root}", "data.allow_leaks=true"]
    before, record = _there(out), (out / "evaluation.json").read_text()
    with (
        exclusive(out, what="evaluation", otherwise="", lock=".evaluation.lock"),
        pytest.raises(UserError, match=r"^Another evaluation is at work in .*: wait for it, or choose another out\.$"),
    ):
        evaluate(load_evaluation("evaluate/phantom.yaml", [*words, "evaluation.split=train"]))
    assert (_there(out), (out / "evaluation.json").read_text()) == (before, record)
