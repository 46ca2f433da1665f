"""Any score compares: a late interaction is retrieved by, probed and mapped through the answers of its bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from medvlp.config.tree import load_config
from medvlp.evaluation.evaluation import Evaluation
from medvlp.runs.evaluate import Evaluated, evaluate, load_evaluation
from medvlp.runs.train import train
from medvlp.statistics.ranks import rank_queries
from tests.tiny import tiny_tree, write_tree

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary


@pytest.fixture(scope="module")
def judged(tiny_cohort: CohortSummary, tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluated, Evaluation]:
    folder = tmp_path_factory.mktemp("late")
    tree = tiny_tree(folder / "run", tiny_cohort.root, folder / "cache")
    tree["phases"][0] = {"until": 16, "objectives": [{"name": "clip", "score": "late_interaction"}]}
    done = train(load_config(write_tree(folder / "c.yaml", tree)))
    asked = {
        "model": str(done.bundle),
        "out": str(folder / "out"),
        "workers": 1,
        "data": {
            "root": str(tiny_cohort.root),
            "layout": "phantom",
            "where": {"view_position": ["PA", "AP"]},
            "allow_leaks": True,
        },
        "evaluation": {
            "resamples": 100,
            "min_positives": 1,
            "split": "train",
            "gallery": 1,
            "measures": {"grounding": {"cases": 2, "sanity": 2}, "probes": None},
        },
    }
    config = load_evaluation(write_tree(folder / "e.yaml", asked))
    from medvlp.runs.evaluate import open_evaluation

    return evaluate(config), open_evaluation(config)


@pytest.mark.slow
def test_retrieval_ranks_by_the_score_itself(judged: tuple[Evaluated, Evaluation]) -> None:
    done, evaluation = judged
    name = next(name for name, answer in evaluation.answers.items() if "similarity" in answer.gives)
    cases = done.found[name].cases
    assert cases is not None
    said = evaluation.predictions(name)
    assert said is not None
    assert said.similarity is not None
    studies = evaluation.judged.manifest.column("id.study")
    first = [int(np.flatnonzero(studies == study)[0]) for study in dict.fromkeys(studies)]
    near = np.stack([said.similarity[studies == studies[at]].mean(axis=0)[first] for at in first])
    words = [" ".join(said.compared[at].split()).casefold() for at in first]
    group = np.unique(words, return_inverse=True)[1]
    for direction, matrix in (("image_to_report", near), ("report_to_image", near.T)):
        wanted = rank_queries(matrix, group, group).expected_rank()
        np.testing.assert_allclose(cases[cases["direction"] == direction]["expected_rank"], wanted)


@pytest.mark.slow
def test_findings_are_scored_and_maps_are_those_of_the_answer(judged: tuple[Evaluated, Evaluation]) -> None:
    done, evaluation = judged
    name, _ = evaluation.prompted or ("", None)
    assert {name, "laterality", f"grounding_{name}", f"grounding_{name}_random", "grounding_centre"} <= set(done.found)
    # Nothing is measured of embeddings that no term has trained.
    assert not {"sentence_check", "prompt_sensitivity"} & set(done.found)
    assert evaluation.features == "image/pooled"
