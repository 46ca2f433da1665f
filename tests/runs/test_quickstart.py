from __future__ import annotations

from pathlib import Path

from medvlp.core.files import write_json
from medvlp.runs.quickstart import summary_lines


def row(label: str, value: float | None, *, metric: str = "auroc", group: str | None = None) -> dict[str, object]:
    mean = {"labels_used": 7, "min_positives": 30} if label == "macro" else {}
    return {"metric": metric, "label": label, "group": group, "value": value, "low": 0.4, "high": 0.9, "n": 12, **mean}


def test_a_result_is_told_by_its_headline_once(tmp_path: Path) -> None:
    zero = [
        row("effusion", 0.9),
        row("macro", 0.8),
        row("macro", 0.7, group="site=north"),
        row("macro", 0.5, metric="ap"),
    ]
    write_json(tmp_path / "a_zero_shot.json", {"metrics": zero})
    sides = [row("left_of_right", 0.8), row("macro", 0.8), row("left_of_right", 0.9, group="finding=nodule")]
    write_json(tmp_path / "b_laterality.json", {"metrics": sides})
    write_json(tmp_path / "c_undefined.json", {"metrics": [row("macro", None)]})
    assert summary_lines(tmp_path) == [
        "a_zero_shot: auroc macro of the 7 findings with 30 positives or more 0.800 [0.400, 0.900], n 12",
        "b_laterality: auroc left_of_right 0.800 [0.400, 0.900], n 12",
    ]
