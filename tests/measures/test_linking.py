"""Linked studies: the index is scikit-learn's, the clusters are DBSCAN's, and image and text together find more."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.cluster import DBSCAN
from sklearn.metrics import adjusted_rand_score

from medvlp.answers.asking.model import load
from medvlp.core.errors import UserError
from medvlp.core.table import FeatureTable
from medvlp.core.unit import unit_embeddings
from medvlp.data.manifest import Manifest
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.results import load_result
from medvlp.measures.linking import Linking, adjusted_rand, best_limit, nearest_hits
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, StoredAnswer, save_bundle
from medvlp.runs.evaluate import EvaluationRun, evaluate
from medvlp.text.wordpiece import train_wordpiece

ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=12)


@given(ROWS)
def test_the_index_is_that_of_scikit_learn_and_weights_are_copies_that_make_no_pair_with_themselves(rows: Any) -> None:
    truth, found, weight = np.array(rows).T
    index = adjusted_rand(truth, found, np.stack([np.ones(len(rows)), weight], axis=1))
    if np.isfinite(index[0]):  # undefined where nothing can differ; scikit-learn says 1 there
        assert index[0] == pytest.approx(adjusted_rand_score(truth, found))
    copies = np.repeat(np.arange(len(rows)), weight)
    pairs = [(i, k) for at, i in enumerate(copies) for k in copies[at + 1 :] if i != k]
    same = np.array([(truth[i] == truth[k], found[i] == found[k]) for i, k in pairs], float).reshape(-1, 2)
    joint, sums = (same[:, 0] * same[:, 1]).sum(), same.sum(0)
    expected = sums.prod() / len(pairs) if pairs else 0.0
    if abs(sums.mean() - expected) > 1e-9:
        assert index[1] == pytest.approx((joint - expected) / (sums.mean() - expected))
    else:
        assert not abs(index[1]) <= 1


@pytest.mark.parametrize("seed", range(5))
def test_clusters_up_to_a_limit_are_those_of_dbscan_and_no_other_limit_has_a_higher_index(seed: int) -> None:
    draw = np.random.default_rng(seed)
    patients = np.repeat(np.arange(8), 4)
    rows = unit_embeddings(draw.normal(size=(8, 5))[patients] + 0.5 * draw.normal(size=(32, 5)), "Study")
    index, limit = best_limit(rows, patients)
    own = DBSCAN(eps=limit, min_samples=1, metric="cosine")
    assert adjusted_rand_score(patients, own.fit_predict(rows)) == pytest.approx(index)
    tree = linkage(rows, "single", "cosine")
    every = [adjusted_rand_score(patients, fcluster(tree, at, "distance")) for at in tree[:, 2]]
    assert index == pytest.approx(max(every))


def test_the_nearest_other_row_by_a_loop() -> None:
    draw = np.random.default_rng(0)
    rows, patients = unit_embeddings(draw.normal(size=(20, 3)), "Study"), draw.integers(0, 12, size=20)
    for i, hit in enumerate(nearest_hits(rows, patients)):
        others = [k for k in range(20) if k != i]
        expected = float(patients[max(others, key=lambda k, i=i: rows[i] @ rows[k])] == patients[i])
        assert np.isnan(hit) if (patients[others] != patients[i]).all() else hit == expected


def records(seed: int, *, people: int = 24, visits: int = 4) -> Any:
    """Patients in pairs, of which every other pair has one image code, and each of the others one text code."""
    draw = np.random.default_rng(seed)
    codes = draw.normal(size=(2, people, 12))
    for i in range(0, people, 2):
        codes[i // 2 % 2, i + 1] = codes[i // 2 % 2, i]
    rows = np.repeat(codes, visits, axis=1)
    image, text = (unit_embeddings(each + 0.2 * draw.normal(size=each.shape), "Image") for each in rows)
    names = [f"{seed}-{i}" for i in range(people * visits)]
    columns = {"id": names, "id.patient": [f"{seed}-p{i // visits}" for i in range(people * visits)], "text": names}
    table = FeatureTable(names, {"image/embedding": image, "text/embedding": text})
    return SimpleNamespace(manifest=Manifest.of(columns, root=Path()), table=table)


def evaluation(validation: Any, judged: Any, **more: Any) -> Any:
    made: Any = SimpleNamespace(
        validation=validation,
        judged=judged,
        compares=True,
        model=SimpleNamespace(model=SimpleNamespace(vision_kind="image")),
        options=SimpleNamespace(seed=0, split="test"),
        drawn={"seed": 0, "resamples": 200},
    )
    made.__dict__.update(more)
    made.paired = partial(Evaluation.paired, made)
    return made


def test_image_and_text_together_link_what_neither_tells_apart() -> None:
    """By one of them 12 of 24 patients of 4 studies are 6 of 8: 144 true pairs, all among 240 that are joined."""
    (result,) = Linking().run(evaluation(records(1), records(2)))
    expected = 144 * 240 / (96 * 95 / 2)
    best = {"adjusted_rand": (144 - expected) / ((144 + 240) / 2 - expected), "nearest": 0.5 + 0.5 * 3 / 7}
    for metric, alone in best.items():
        both, image, text = (result.find(metric, label) for label in ("image_and_text", "image", "text"))
        assert both.value > 0.85  # pyrefly: ignore
        assert max(image.value, text.value) < alone + (0.05 if metric == "nearest" else 1e-9)  # pyrefly: ignore
    both = result.find("adjusted_rand", "image_and_text")
    assert both.interval.low < both.value < both.interval.high  # pyrefly: ignore
    assert result.fitted["image"] == {"image_share": 1.0, "distance": result.fitted["image"]["distance"]}
    assert result.fitted["image_and_text"]["image_share"] == 0.5


def test_with_the_image_alone_the_pooled_vector_gives_the_images_results_exactly() -> None:
    (result,) = Linking(shares=(1.0,)).run(evaluation(records(1), records(2)))
    for metric in ("adjusted_rand", "nearest"):
        both, image = (result.find(metric, label) for label in ("image_and_text", "image"))
        assert (both.value, both.interval) == (image.value, image.interval)


def test_the_test_patients_choose_nothing() -> None:
    (one,), (other,) = (Linking().run(evaluation(records(1), records(seed))) for seed in (2, 3))
    assert one.fitted == other.fitted
    assert one.find("adjusted_rand", "text").value != other.find("adjusted_rand", "text").value


def test_what_cannot_be_chosen_or_linked_is_refused() -> None:
    for held, more in ((None, {}), (records(1), {"compares": False})):
        with pytest.raises(UserError, match=r"name a split of other patients in evaluation\.fit, and a model with a"):
            next(Linking().run(evaluation(held, records(2), **more)))
    with pytest.raises(UserError, match=r"no patient has two with a picture and a text: leave it out, or judge data"):
        next(Linking().run(evaluation(records(1), records(2, visits=1))))


@pytest.mark.slow
def test_texts_of_validation_patients_are_read_for_it_and_those_of_the_test_are_compared(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    texts = [f"{'effusion' if at % 3 else 'clear lungs'} {'left' * (at % 5 > 0)}" for at in range(24)]
    rows = ["file,patient,split,report"]
    for at, text in enumerate(texts):
        Image.fromarray((draw.random((32, 32)) * 255).astype(np.uint8)).save(tmp_path / f"{at}.png")
        rows.append(f"{at}.png,p{at // 2},{'validate' if at < 12 else 'test'},{text}")
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    words = train_wordpiece(["effusion left", "clear lungs"] * 2, vocab_size=64, max_length=16)
    model = build_model({"name": "single", "width": 16, "layers": 1, "image_size": 32}, tokenizer=words)
    asked = StoredAnswer("retrieval", "retrieval", {}, [], {"name": "dot"})
    save_bundle(tmp_path / "m", Bundle(model, words, preprocessing=[{"name": "read", "size": 32}], answers=(asked,)))
    columns = {"image": "file", "id.patient": "patient", "split": "split", "text": "report"}
    data = {"root": str(tmp_path), "table": "table.csv", "columns": columns, "cache": str(tmp_path / "cache")}
    data |= {"split": {"name": "own"}, "near_images": False}
    off = dict.fromkeys(("probes", "grounding", "sentences", "prompt_sensitivity", "image_retrieval", "retrieval"))
    options = {"measures": {**off, "linking": {}}, "gallery": 0, "resamples": 100}
    tree = {"model": str(tmp_path / "m"), "out": str(tmp_path / "out"), "data": data, "evaluation": options}
    evaluate(EvaluationRun.model_validate(tree))
    result = load_result(tmp_path / "out" / "results" / "linking.json")
    hits = nearest_hits(load(tmp_path / "m").embed_text(texts[12:]).astype(np.float64), np.arange(12) // 2)
    assert result.find("nearest", "text").value == pytest.approx(hits.mean(), abs=1e-6)
    assert result.find("nearest", "text").counts.n == 12
