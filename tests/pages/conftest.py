"""A page with every section on it, and the inputs that it is of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from medvlp.evaluation.classification import evaluate_scores
from medvlp.evaluation.results import Comparison, ConfidenceInterval, Counts, Flag, Metric, Result
from medvlp.evaluation.retrieval import evaluate_retrieval
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.evaluation.scoring.score import score_predictions
from medvlp.pages.inputs import Box, GalleryItem, ReportInputs, RetrievalExample, RetrievalHit
from medvlp.pages.record import Category, Cohort, DataFacts, LabelCount, ModelFacts, Part, Quartiles, Record
from medvlp.pages.render import render_report

FLAG = Flag(
    kind="shortcut", name="site", sentence="The score of edema knows site=north.", p=0.001, p_holm=0.004, tests=4
)
RECORD = Record(
    model=ModelFacts(
        name="bundle",
        manifest="f" * 64,
        architecture={"vision": {"name": "timm", "architecture": "resnet10t"}, "text": {"name": "transformer"}},
        parameters=1234,
        preprocessing=({"name": "read", "size": 128, "preset": "dicom_voi_v1", "field": "image"},),
        labels=("effusion",),
        provenance={"data": "data-hash", "seed": 3},
    ),
    data=DataFacts(
        layout="phantom", card="phantom", manifest="data-hash", judged="test", leaks={"found": {}}, synthetic=True
    ),
    cohort=Cohort(
        splits=(Part(name="train", records=300, patients=150), Part(name="test", records=160, patients=70)),
        labels=(LabelCount(name="effusion", by_split=((120, 300), (64, 160))),),
        categories=(Category(name="site", rows=(("north", (150, 80)), (None, (150, 80)))),),
        numbers=(Quartiles(name="age", by_split=((40.0, 55.0, 70.0), None)),),
    ),
    seed=0,
    resamples=60,
    environment={"medvlp": "0.1.0", "code": "c0de", "python": "3.11", "packages": {"torch": "2.0"}},
)


_AUDIT = ("auroc_gap", "worst_", "shortcut", "subgroup_gap", "sensitivity_gap", "specificity_gap", "miscalibration")


def _table(rows: int = 320) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    patient = generator.integers(0, 140, rows)
    split = np.where(patient % 3, "test", "validate")
    table = pd.DataFrame({"id": range(rows), "patient_id": patient, "split": split})
    for name, prevalence in (("effusion", 0.4), ("rib_fracture", 0.3)):
        label = generator.random(rows) < prevalence
        table[f"label:{name}"] = label.astype(int)
        table[f"score:{name}"] = 1 / (1 + np.exp(-(label + generator.normal(size=rows))))
    table["group:site"] = np.where(generator.random(rows) < 0.5, "north", "south")
    return table


def _gap(group: str, value: float) -> Metric:
    return Metric(metric="auroc_gap", label="macro", group=f"site={group}", value=value, split="test",
                  interval=ConfidenceInterval(low=value - 0.05, high=value + 0.05),
                  counts=Counts(n=80, patients=60, labels_used=2),
                  test=Comparison(p=0.02, p_corrected=0.04))  # fmt: skip


@pytest.fixture(scope="session")
def results() -> tuple[Result, ...]:
    table = _table()
    made = score_predictions(
        table, options=ScoreOptions(resamples=40, points=("youden",)), title="Zero-shot", synthetic=True
    )
    # The audit's own rows make room for rows of known numbers.
    kept = [row for row in made.metrics if not row.metric.startswith(_AUDIT)]
    extra = (
        _gap("north", 0.031),
        _gap("south", -0.031),
        Metric(metric="shortcut_auroc", label="effusion", group="site=north", value=0.612,
               counts=Counts(n=90, patients=70)),
        Metric(metric="subgroup_gap_test", label="macro", value=0.031, counts=Counts(n=80, patients=60),
               test=Comparison(p=0.02)),
    )  # fmt: skip
    scores = Result(
        name="zero_shot", title="Zero-shot", recipe="recipe-hash", data="data-hash", metrics=(*kept, *extra),
        cases=made.cases, flags=(FLAG,), caveats=("The split has a flaw.",), synthetic=True, options=made.options,
        fitted=made.fitted,
    )  # fmt: skip
    plain = table[table["split"] == "test"].drop(columns=["group:site"])
    control = evaluate_scores(plain, name="thumbnail", role="control", seed=0, resamples=40)
    embedding = np.random.default_rng(1).normal(size=(60, 8))
    reports = [f"report {at % 50}" for at in range(60)]
    retrieval = evaluate_retrieval(
        embedding, embedding + 1, reports, [f"P{at}" for at in range(60)], seed=0, resamples=40,
    )  # fmt: skip
    robust = Result(
        name="robustness", recipe="r", data="d", synthetic=True,
        metrics=tuple(
            Metric(metric="auroc_difference", label=label, group="rotation=10", value=value,
                   interval=ConfidenceInterval(low=value - 0.02, high=value + 0.02),
                   counts=Counts(n=90, patients=60), test=Comparison(p=0.01, p_corrected=0.02))
            for label, value in (("effusion", -0.123), ("macro", -0.077))
        ),
    )  # fmt: skip
    return scores, replace(control, synthetic=True), replace(retrieval, synthetic=True), robust


@pytest.fixture(scope="session")
def inputs(results: tuple[Result, ...]) -> ReportInputs:
    picture = np.arange(48 * 64, dtype=np.uint32).reshape(48, 64).astype(np.uint8)
    heat = np.linspace(0, 1, 16).reshape(4, 4)
    typical = GalleryItem(
        image=picture, finding="effusion", score=0.5, boxes=(Box(4, 6, 20, 30, "left"),), heat_map=heat
    )
    errors = [
        GalleryItem(image=picture, finding="rib_fracture", score=0.1, heat_map=heat, truth="absent", chosen=chosen)
        for chosen in ("hit", "miss", "false_alarm", "unsure")
    ]
    hits = (RetrievalHit(rank=1, text="A report " + "with many words " * 12, score=0.7, correct=True),)
    return ReportInputs(
        title="A run",
        results=results,
        gallery=(typical, *errors),
        retrieval=(RetrievalExample(image=picture, hits=hits, expected_rank=1.0, pool=60),),
        config={"seed": 0, "model": {"vision": {"name": "timm"}}, "a_very_long_key": "x" * 120},
        record=RECORD,
        study={"funding": "Nobody paid."},
        resamples=20,
    )


@pytest.fixture(scope="session")
def page(inputs: ReportInputs) -> str:
    return render_report(inputs)
