"""What an evaluation writes is of one evaluation."""

from __future__ import annotations

from pathlib import Path

from medvlp.core.files import write_json
from medvlp.pages.record import DataFacts, ModelFacts, Record
from medvlp.runs.evaluate import forget_earlier


def test_results_of_an_earlier_evaluation_go_before_those_of_the_next_and_other_files_stay(tmp_path: Path) -> None:
    for name in ("zero_shot", "retrieval", "mine"):
        write_json(tmp_path / "results" / f"{name}.json", {"cases": {"path": f"{name}.parquet"}})
        (tmp_path / "results" / f"{name}.parquet").touch()
    write_json(tmp_path / "results" / "gallery.json", {})
    names = ("zero_shot", "retrieval", "gone")
    Record(model=ModelFacts(name="b"), data=DataFacts(manifest="d"), results=names).write(tmp_path / "evaluation.json")
    forget_earlier(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["mine.json", "mine.parquet"]
    forget_earlier(tmp_path)  # there is none
    assert (tmp_path / "results" / "mine.json").is_file()
