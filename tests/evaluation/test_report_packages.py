"""Metrics of other packages: their numbers are passed on, and what is not installed is told."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from medvlp.core.errors import DataError, UserError
from medvlp.evaluation.report_packages import chexbert_f1, green_scores, radeval_scores, radgraph_f1
from medvlp.text.adapters.chexbert import CHEXBERT_FINDINGS


def annotate(reports: list[str]) -> dict[str, object]:
    """Every word an entity, as the package gives them."""
    found: dict[str, object] = {}
    for number, report in enumerate(reports):
        words = report.rstrip(".").split()
        entities = {
            str(i): {"tokens": w, "label": "Observation::definitely present", "start_ix": i, "relations": []}
            for i, w in enumerate(words)
        }
        found[str(number)] = {"text": report, "entities": entities}
    return found


def test_radgraph_f1_is_that_of_sets_of_entities() -> None:
    found = radgraph_f1(["small left effusion", "clear"], ["left effusion seen there", "Clear"], annotator=annotate)
    assert found == (pytest.approx(2 * 2 / (3 + 4)), 1.0)


def test_chexbert_tables_give_f1_of_present_and_uncertain(tmp_path: Path) -> None:
    names = list(CHEXBERT_FINDINGS)

    def table(name: str, rows: list[dict[str, str]]) -> Path:
        lines = [",".join(["Report Impression", *names])]
        lines += [",".join(["x", *(row.get(each, "") for each in names)]) for row in rows]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return tmp_path / name

    one = table("a.csv", [{"Edema": "1.0"}, {"Edema": "-1.0"}, {"Edema": "0.0"}])
    other = table("b.csv", [{"Edema": "1.0"}, {}, {"Edema": "1.0", "Pneumonia": "0.0"}])
    found = chexbert_f1(one, other)
    assert found["edema"] == pytest.approx(2 / (2 + 2))
    assert found["pneumonia"] is None
    with pytest.raises(DataError, match="3 references and 1 written reports"):
        chexbert_f1(one, table("c.csv", [{}]))


def test_scores_of_the_packages_are_passed_on() -> None:
    assert green_scores(["a", "b"], ["a", "c"], scorer=lambda r, w: (0.5, 0.5, [1, 0], "", None)) == (1.0, 0.0)
    with pytest.raises(DataError, match="GREEN gave no score a report"):
        green_scores(["a"], ["a"], scorer=lambda r, w: [1.0])
    assert radeval_scores(["a"], ["a"], scorer=lambda r, w: {"radgraph": 0.5, "notes": "x"}) == {"radgraph": 0.5}
    with pytest.raises(DataError, match="RadEval gave no table"):
        radeval_scores(["a"], ["a"], scorer=lambda r, w: 1.0)


@pytest.mark.parametrize(("package", "metric"), [("green_score", green_scores), ("RadEval", radeval_scores)])
def test_a_package_that_is_not_installed_is_told(package: str, metric: object) -> None:
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(UserError, match=rf"needs the package '{package}', which is not installed"):
        metric(["a"], ["a"])  # type: ignore[operator]
