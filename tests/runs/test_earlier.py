"""An evaluation into the folder of an earlier one leaves none of that one's numbers for its page to show."""

from __future__ import annotations

from pathlib import Path

import pytest

from medvlp.pages.record import DataFacts, ModelFacts, Record
from medvlp.runs.evaluate import forget_earlier

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
