"""Written reports beside the controls that need no picture, or another one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from medvlp.config.tree import load_config
from medvlp.core.answers import Ask, Rows
from medvlp.core.decoding import Decoding
from medvlp.core.errors import DataError
from medvlp.core.predictions import Predictions
from medvlp.core.registry import available
from medvlp.core.table import FeatureTable
from medvlp.data.manifest import Manifest
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.results import Result
from medvlp.measures.written_reports import WrittenReports
from medvlp.runs.evaluate import load_evaluation, open_evaluation
from medvlp.runs.train import train
from tests.tiny import tiny_tree, write_tree

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary

KEY = "image/embedding"
KINDS = ("Left effusion.", "No effusion. Right pneumothorax.", "Cardiomegaly.", "No acute findings.")
VECTORS = np.eye(4, 5)


def part(count: int, split: str, *, seed: int, silent: bool = False, each: int = 2, before: str = "") -> Any:
    """Records whose feature is near the vector of their report's kind."""
    draw = np.random.default_rng(seed)
    kinds = np.arange(count) % 4 if split != "validate" else np.zeros(count, dtype=int)
    vectors = VECTORS[kinds] + 0.1 * draw.normal(size=(count, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [f"{split}{i}" for i in range(count)]
    columns = {"id": ids, "id.patient": [f"{split}{i // each}" for i in range(count)], "split": [split] * count}
    columns["text"] = ["" if silent else before + KINDS[kind] for kind in kinds]
    manifest = Manifest.of(columns, root=Path())
    return SimpleNamespace(manifest=manifest, table=FeatureTable(ids, {KEY: vectors.astype(np.float32)}))


def results(
    written: list[str],
    *,
    compares: bool = True,
    silent: str = "",
    each: int = 2,
    before: str = "",
    blind: Sequence[int] = (),
) -> dict[str, Result]:
    judged = part(24, "test", seed=0, each=each, before=before)
    judged.table[KEY][list(blind)] = np.nan
    train, validation = (
        part(count, split, seed=seed, silent=split == silent, before=before)
        for count, split, seed in ((40, "train", 1), (8, "validate", 2))
    )

    def embed_text(texts: list[str]) -> np.ndarray:
        return np.stack([VECTORS[KINDS.index(text)] if text in KINDS else VECTORS[3] for text in texts])

    answer = SimpleNamespace(asks="nothing", gives={"text"}, labels=())
    said = Predictions(tuple(judged.manifest.column("id").tolist()), text=tuple(written))
    evaluation: Any = SimpleNamespace(
        manifest=judged.manifest,
        judged=judged,
        validation=validation,
        knows_patients=True,
        splits=frozenset({"train", "validate", "test"}),
        options=SimpleNamespace(seed=0, split="test"),
        facts={"seed": 0, "resamples": 50, "split": "test"},
        drawn={"seed": 0, "resamples": 50},
        features=KEY,
        sees=True,
        compares=compares,
        model=SimpleNamespace(embed_text=embed_text),
        giving=lambda part: [("report", answer, said)],
        part=lambda split: train,
    )
    return {result.name: result for result in WrittenReports().run(evaluation)}


def row(result: Result, metric: str, label: str) -> Any:
    found = result.find(metric, label)
    assert found.value is not None
    return found


def test_controls_stand_beside_what_was_written_with_paired_differences() -> None:
    truth = [KINDS[i % 4] for i in range(24)]
    found = results(truth)
    assert set(found) == {"report", "report_constant", "report_nearest", "report_shuffled"}
    assert [result.role for result in found.values()].count("control") == 3
    # All validation reports are the first kind: that is the one report for everybody, right for a quarter.
    constant = row(found["report_constant"], "f1", "micro").value
    assert constant == pytest.approx(2 * 6 / (24 + 30))  # a large heart is two of CheXpert's findings
    assert row(found["report_nearest"], "f1", "micro").value == 1.0  # features tell the kind
    assert row(found["report"], "f1", "micro").value == 1.0
    for control in ("constant", "nearest", "shuffled"):
        difference = row(found["report"], "f1_difference", control)
        # Every resample finds what was written as right as the nearest: a difference of 0 without an interval.
        assert (difference.interval.low is None) == (control == "nearest")
        expected = 1.0 - row(found[f"report_{control}"], "f1", "micro").value
        assert difference.value == pytest.approx(expected)


def test_a_picture_of_which_nothing_was_written_counts_and_a_row_without_a_picture_does_not() -> None:
    truth = [KINDS[i % 4] for i in range(24)]
    written = ["" if i in (0, 8, 16) else text for i, text in enumerate(truth)]  # three of six left effusions
    found = results(written)
    # Of 30 findings (a large heart is two, and none is one) the three that nobody wrote of are missed.
    assert row(found["report"], "f1", "micro").value == pytest.approx(2 * 27 / (27 + 30))
    assert row(found["report"], "f1", "effusion").value == pytest.approx(2 * 3 / (3 + 6))
    assert row(found["report"], "rouge_l", "reports").value == pytest.approx(21 / 24)
    cohort = Manifest.of({"id": [str(i) for i in range(24)], "text": truth}, root=Path())
    said = Predictions(tuple(str(i) for i in range(24)), text=tuple(written))
    assert WrittenReports().values(said, cohort) == {"f1": pytest.approx(54 / 57)}
    blind = results(written, blind=[0, 8])
    assert row(blind["report"], "f1", "micro").value == pytest.approx(2 * 27 / (27 + 28))
    assert {result.find("rouge_l", "reports").counts.n for result in blind.values()} == {22}


@pytest.mark.parametrize(("silent", "left"), [("train", {"shuffled"}), ("validate", {"shuffled", "nearest"})])
def test_controls_that_need_reports_of_a_split_without_any_are_left_out(silent: str, left: set[str]) -> None:
    found = results([KINDS[i % 4] for i in range(24)], silent=silent)
    assert set(found) == {"report", *(f"report_{control}" for control in left)}


def test_reports_of_a_single_patient_are_never_given_to_another_one() -> None:
    assert set(results([KINDS[i % 4] for i in range(24)], each=24)) == {"report", "report_constant", "report_nearest"}


@pytest.mark.filterwarnings("ignore:A report is not in English")
def test_reports_in_another_language_say_nothing() -> None:
    german = ["Kein Pleuraerguss.", "Großer Pleuraerguss auf der linken Seite."]
    cohort = Manifest.of({"id": ["a", "b"], "text": german}, root=Path())
    assert WrittenReports().values(Predictions(("a", "b"), text=tuple(german[::-1])), cohort) == {}


def test_words_and_pictures_are_counted_beside_them_and_a_wrong_side_is_only_heard_by_the_reader() -> None:
    truth = [KINDS[i % 4] for i in range(24)]
    wrong = [
        text.replace("Left", "Right") if i % 8 else text.replace("No effusion. ", "") for i, text in enumerate(truth)
    ]
    found = results(wrong)
    assert row(found["report"], "side_error", "reports").value == 3 / 12
    assert 0.8 < row(found["report"], "rouge_l", "reports").value < 1.0
    assert row(found["report_nearest"], "rouge_l", "reports").value == 1.0
    # One report finds the five nearest pictures of 24, whoever asks.
    assert row(found["report_constant"], "recall@5", "reports").value == pytest.approx(5 / 24, abs=0.05)
    assert row(found["report_nearest"], "recall@5", "reports").value > 0.6
    with pytest.raises(DataError):
        results(truth, compares=False)["report"].find("recall@5", "reports")


def test_what_no_picture_tells_counts_for_nobody() -> None:
    """A model that was taught findings and impressions writes no history, and a report of training has one."""
    truth = [KINDS[i % 4] for i in range(24)]
    plain, whole = results(truth), results(truth, before="INDICATION: Cough. TECHNIQUE: PA chest.\nFINDINGS: ")
    for name, result in whole.items():
        for metric in ("rouge_l", "recall@5"):
            assert row(result, metric, "reports").value == row(plain[name], metric, "reports").value
    assert row(whole["report"], "rouge_l", "reports").value == 1.0


@pytest.mark.slow
def test_a_model_that_writes_is_judged_as_it_is_asked_to_write(tiny_cohort: CohortSummary, tmp_path: Path) -> None:
    tree = tiny_tree(tmp_path / "run", tiny_cohort.root, tmp_path / "cache")
    tree["phases"][0] = {"until": 16, "objectives": [{"name": "clip"}, {"name": "caption", "width": 16, "layers": 1}]}
    done = train(load_config(write_tree(tmp_path / "c.yaml", tree)))
    asked: dict[str, Any] = {"model": str(done.bundle), "out": str(tmp_path / "out"), "workers": 1}
    asked["data"] = {"root": str(tiny_cohort.root), "layout": "phantom", "allow_leaks": True}
    asked["data"]["where"] = {"view_position": ["PA", "AP"]}
    asked["evaluation"] = {"resamples": 100, "min_positives": 1, "gallery": 0, "decoding": "temperature=1,seed=2"}
    asked["evaluation"]["measures"] = {name: None for name in available("measures") if name != "written_reports"}
    evaluation = open_evaluation(load_evaluation(write_tree(tmp_path / "e.yaml", asked)))
    drawn = evaluation.predictions("report")
    assert evaluation.options.decoding == Decoding(temperature=1.0, seed=2)
    assert drawn is not None
    greedy = evaluation.answers["report"].answer(Rows(evaluation.judged.table), Ask(), _writer(evaluation))
    assert drawn.text != greedy.text
    found = {result.name: result for result in WrittenReports().run(evaluation)}
    assert {"report", "report_constant", "report_nearest"} <= set(found)
    assert found["report"].find("recall@5", "reports").counts.n == found["report"].find("rouge_l", "reports").counts.n


def _writer(evaluation: Evaluation) -> Any:
    return evaluation.answers["report"].begin(evaluation.model.model, Ask())
