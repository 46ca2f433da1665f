"""RealSyn's retrieval and balance against brute force."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from medvlp.core.errors import DataError
from medvlp.core.table import FeatureTable
from medvlp.curation.realsyn import Realsyn, retrieve, worth_keeping
from medvlp.data.manifest import Manifest


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def world(count: int, seed: int) -> np.ndarray:
    """Rows around twelve directions."""
    draw = np.random.default_rng(seed)
    centres = unit(np.random.default_rng(9).normal(size=(12, 16)))
    return unit(centres[draw.integers(0, 12, count)] + 0.15 * draw.normal(size=(count, 16)))


def test_one_cluster_is_exhaustive_search_and_several_find_nearly_as_much() -> None:
    images, sentences = world(100, 0), world(600, 1)
    brute = np.argsort(-(images @ sentences.T), axis=1, kind="stable")[:, :3]
    assert (retrieve(images, sentences, nearest=3, clusters=1, seed=0) == brute).all()
    found = retrieve(images, sentences, nearest=3, clusters=12, seed=0)
    recall = np.mean([len(set(a) & set(b)) / 3 for a, b in zip(found, brute, strict=True)])
    assert recall >= 0.9


def test_an_image_opposite_to_all_sentences_has_the_nearest_of_them_though_a_cluster_is_empty() -> None:
    sentences = np.eye(3)[[0, 0, 0, 1]]  # two different ones in three clusters
    assert retrieve(np.array([[-0.6, -0.8, 0.0]]), sentences, nearest=3, clusters=3, seed=0).tolist() == [[0, 1, 2]]


def test_sentences_are_filtered_by_length_address_repetition_and_information() -> None:
    sentences = [
        "No.",
        "A small effusion is seen on the left.",
        "A  small effusion is seen on the LEFT.",
        "See www.example.org for what is meant here.",
        " ".join(f"word{i}" for i in range(82)),
        "Nodes of the right hilum are enlarged.",
    ]
    assert worth_keeping(sentences, information=0.2) == [1, 5]
    assert worth_keeping(sentences, information=1.0) == []
    assert worth_keeping(["left lung " * 40 + "left"]) == [0]  # 81 words
    assert worth_keeping(["left lung " * 41]) == []
    # -0.9 log 0.9 - 0.1 log 0.1 = 0.325: each word of a sentence counts once, however often it stands there.
    assert worth_keeping(["effusion " * 9 + "left"], information=0.36) == []
    assert worth_keeping(["effusion " * 9 + "left"], information=0.32) == [0]


def test_what_a_sentence_says_is_the_same_in_whatever_order_its_words_are_summed() -> None:
    words = [f"{one}{other}n" for one in "bdfgklmnpr" for other in "aeio"]
    sentences = [" ".join(words[i : i + 9 + i % 5]) for i in range(28)]
    counts = Counter(word for each in sentences for word in each.split())
    total = sum(counts.values())
    for place, each in enumerate(sentences):
        shares = [counts[word] / total for word in each.split()]
        exactly = -math.fsum(share * math.log(share) for share in shares)
        assert place in worth_keeping(sentences, information=exactly)


def test_the_cap_of_a_cluster_is_exact_and_sentences_come_with_the_record(tmp_path: Path) -> None:
    rows = world(300, 2).astype(np.float32)
    ids = [f"r{i}" for i in range(300)]
    FeatureTable(ids, {"image/embedding": rows}, {}).save(tmp_path / "images.parquet")
    texts = ["No.", *(f"Finding number {i} is described in this sentence." for i in range(1, 60))]
    columns = {"text/embedding": world(60, 3).astype(np.float32), "text": texts}
    FeatureTable([f"s{i}" for i in range(60)], columns, {}).save(tmp_path / "sentences.parquet")
    rule = Realsyn(
        images=tmp_path / "images.parquet",
        sentences=tmp_path / "sentences.parquet",
        cap=9,
        nearest=2,
        image_clusters=12,
        sentence_clusters=1,
    )
    records = [{"id": name} for name in [*ids, "unknown"]]
    counts = rule.measure(records)
    assert counts is not None
    verdicts = {str(r["id"]): rule.apply(r, counts) for r in records}
    assert verdicts["unknown"].reason == "no_embedding"
    clusters = dict(zip(ids, rule._cluster, strict=True))
    size, stay = Counter(clusters.values()), Counter(clusters[name] for name in ids if not verdicts[name].reason)
    assert stay == {cluster: min(9, count) for cluster, count in size.items()}
    near = rows.astype(float) @ columns["text/embedding"].astype(float).T
    near[:, 0] = -2  # too short for anybody, and all others keep their own words
    for place, name in enumerate(ids):
        if not verdicts[name].reason:
            best = [texts[i] for i in np.argsort(-near[place], kind="stable")[:2]]
            assert [verdicts[name].more[f"text.retrieved{i}"] for i in (1, 2)] == best


@pytest.mark.parametrize("seed", [0, 5])
def test_what_stays_depends_on_the_seed_alone(tmp_path: Path, seed: int) -> None:
    rows = world(40, 4).astype(np.float32)
    FeatureTable([f"r{i}" for i in range(40)], {"image/embedding": rows}, {}).save(tmp_path / "i.parquet")
    rule = Realsyn(images=tmp_path / "i.parquet", cap=2, image_clusters=3, seed=seed)
    records = [{"id": f"r{i}"} for i in range(40)]
    counts, other = rule.measure(records), rule.measure(records[::-1])
    assert counts is not None
    assert other is not None
    assert [rule.apply(r, counts).reason for r in records] == [rule.apply(r, other).reason for r in records]


def test_sentences_that_were_embedded_of_a_manifest_have_its_words(tmp_path: Path) -> None:
    """As `medvlp embed` leaves them: ids and vectors, without those that have no words."""
    texts = ["The upper lobe is opaque.", "", "The lower lobe is opaque."]
    Manifest.of({"id": list("abc"), "text": texts}, root=tmp_path).save(tmp_path / "m.parquet")
    rows = np.eye(2, dtype=np.float32)
    FeatureTable(["c", "a"], {"text/embedding": rows}, {"model": "one"}).save(tmp_path / "s.parquet")
    FeatureTable(["x", "y"], {"image/embedding": rows}, {"model": "one"}).save(tmp_path / "i.parquet")
    files = {"images": tmp_path / "i.parquet", "sentences": tmp_path / "s.parquet"}
    rule = Realsyn(**files, texts=tmp_path / "m.parquet", nearest=1, image_clusters=1, sentence_clusters=1)
    counts = rule.measure([{"id": "x"}, {"id": "y"}])
    assert counts is not None
    assert [rule.apply({"id": name}, counts).more["text.retrieved1"] for name in "xy"] == [texts[2], texts[0]]
    with pytest.raises(DataError, match="holds no words: name the manifest that was embedded, texts=MANIFEST"):
        Realsyn(**files).apply({"id": "x"}, counts)
    FeatureTable(["x", "y"], {"image/embedding": rows}, {"model": "other"}).save(tmp_path / "i.parquet")
    with pytest.raises(DataError, match="are of two models: embed both with the same model"):
        Realsyn(**files, texts=tmp_path / "m.parquet").apply({"id": "x"}, counts)
