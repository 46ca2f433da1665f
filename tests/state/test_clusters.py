from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from medvlp.core import Batch, ConfigError, DataError, FeatureTable, collectives
from medvlp.core.encoded import unit
from medvlp.core.registry import build
from medvlp.features.external import External
from medvlp.features.space_clusters import soft_labels
from medvlp.state.clusters import Clusters

N = 60
NAN = float("nan")


def table(*, n: int = N, turned: bool = False) -> FeatureTable:
    """Two spaces of four and three dimensions; some samples lack a text, one an image; labels with gaps."""
    generator = torch.Generator().manual_seed(0)
    image, text = torch.randn(n, 4, generator=generator), torch.randn(n, 3, generator=generator)
    if turned:
        text = text @ torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
    text[[3, 7, 11]] = NAN
    image[5] = NAN
    labels = torch.tensor([1.0, 0.0, -1.0, NAN]).repeat(n)[:n]
    columns = {"image/proto": image.numpy(), "text/proto": text.numpy(), "label.effusion": labels.numpy()}
    return FeatureTable([f"s{i}" for i in range(n)], columns)


def made(features: FeatureTable | None = None, **options) -> Clusters:
    clusters = Clusters(**{"clusters": 5, **options})
    clusters.refresh(features or table())
    return clusters


def labels_of(clusters: Clusters, space: str, ids: list[str]) -> list[float]:
    batch = Batch(tuple(ids), torch.arange(len(ids)), {})
    return clusters.extend(batch)[f"number.cluster_{space}"].values.tolist()


ALL = [f"s{i}" for i in range(N)]


@pytest.mark.parametrize(("by", "space"), [("image", "image"), ("text", "image"), ("image", "text"), ("text", "text")])
def test_centroids_are_means_of_one_space_under_the_labels_of_another(by, space):
    """Back translation, by hand: a sample that lacks either view takes no part."""
    clusters, features = made(), table()
    rows = unit(torch.from_numpy(features[f"{space}/proto"]))
    labels = labels_of(clusters, by, ALL)
    got = clusters.centroids(labels_of=by, features_of=space)
    for k in range(5):
        chosen = [rows[i] for i in range(N) if labels[i] == k and not rows[i].isnan().any()]
        torch.testing.assert_close(got[k], torch.stack(chosen).mean(0), rtol=1e-5, atol=1e-6)


def test_with_its_own_labels_back_translation_gives_the_k_means_centroids():
    """Check (i) of the method, and centroids are not scaled to unit length."""
    from medvlp.features.kmeans import kmeans

    features = table()
    rows = unit(torch.from_numpy(features["image/proto"]))
    found = kmeans(rows[rows.isfinite().all(1)], 5)
    got = made().centroids(labels_of="image", features_of="image")
    assert torch.equal(got, found.centroids)
    assert (got.norm(dim=1) < 0.99).all()
    scaled = made(unit_centroids=True).centroids(labels_of="image", features_of="image")
    torch.testing.assert_close(scaled, unit(got))


def test_a_batch_is_told_its_clusters_and_what_has_no_row_has_none():
    clusters = made()
    assert clusters.fields() == ("number.cluster_image", "number.cluster_text")
    image, text = (labels_of(clusters, space, [*ALL, "stranger"]) for space in ("image", "text"))
    assert [i for i, label in enumerate(text) if math.isnan(label)] == [3, 7, 11, N]
    assert [i for i, label in enumerate(image) if math.isnan(label)] == [5, N]
    assert set(image) - {image[5], image[N]} == set(range(5))
    empty = Clusters().extend(Batch(("s0",), torch.arange(1), {}))
    assert empty["number.cluster_text"].values.isnan().all()


@pytest.mark.parametrize("spherical", [False, True])
def test_the_nearest_clusters_are_a_field_of_their_own(spherical):
    """By hand, over the centroids of the own space; the first is the cluster itself once k-means has settled."""
    clusters = made(nearest=3, spherical=spherical, unit_centroids=spherical, iterations=100)
    assert clusters.fields()[2:] == ("vector.cluster_image", "vector.cluster_text")
    batch = clusters.extend(Batch((*ALL, "stranger"), torch.arange(N + 1), {}))
    rows = unit(torch.from_numpy(table()["text/proto"])).double()
    centroids = clusters.centroids(labels_of="text", features_of="text").double()
    got = batch["vector.cluster_text"].values
    assert got.shape == (N + 1, 3)
    for i in range(N):
        distance = [float((rows[i] - c).square().sum()) for c in centroids]
        near = [NAN] * 3 if math.isnan(distance[0]) else sorted(range(5), key=lambda k: distance[k])[:3]
        assert got[i].tolist() == pytest.approx(near, nan_ok=True)
    assert got[N].isnan().all()
    assert torch.equal(got[:, 0].nan_to_num(-1), batch["number.cluster_text"].values.nan_to_num(-1))
    again = Clusters(clusters=5, nearest=3)
    again.load_state_dict(clusters.state_dict())
    taken = again.extend(Batch(tuple(ALL), torch.arange(N), {}))["vector.cluster_text"].values
    assert torch.equal(taken.nan_to_num(-1), got[:N].nan_to_num(-1))


def test_the_number_of_clusters_follows_the_samples():
    assert made(clusters=None).centroids(labels_of="text", features_of="image").shape == (6, 4)
    assert made(table(n=12), clusters=None).centroids(labels_of="text", features_of="text").shape == (2, 3)


def test_soft_labels_are_a_softmax_over_the_teachers_centroids():
    clusters = made()
    own = clusters.centroids(labels_of="text", features_of="text")
    got = soft_labels(torch.tensor([2.0, NAN]), own, temperature=0.05)
    scores = [math.exp(float(own[2] @ c) / 0.05) for c in own]
    torch.testing.assert_close(got[0], torch.tensor([s / sum(scores) for s in scores]), rtol=1e-5, atol=1e-6)
    assert not got[1].any()


def test_turning_a_space_leaves_its_partition_alone():
    straight, turned = made(), made(table(turned=True))
    assert labels_of(straight, "text", ALL)[:3] == labels_of(turned, "text", ALL)[:3]
    for space in ("image",):
        torch.testing.assert_close(
            straight.centroids(labels_of="text", features_of=space),
            turned.centroids(labels_of="text", features_of=space),
        )


def test_each_pass_starts_anew_and_the_last_one_counts():
    clusters = made()
    first = clusters.centroids(labels_of="image", features_of="image")
    clusters.refresh(table(n=30))
    assert math.isnan(labels_of(clusters, "image", ["s40"])[0])
    clusters.refresh(table())
    second = clusters.centroids(labels_of="image", features_of="image")
    assert not torch.equal(first, second)


# an outside teacher -------------------------------------------------------------------------------------------------


def test_an_outside_teacher_may_have_any_width_and_gives_its_partition(tmp_path):
    generator = np.random.default_rng(0)
    groups = generator.integers(3, size=N)
    vectors = np.eye(3, 20)[groups] * 5 + generator.normal(size=(N, 20)) * 0.1
    order = generator.permutation(N)  # the table has its own order
    stored = FeatureTable([f"s{i}" for i in order], {"text/embedding": vectors[order].astype(np.float32)})
    stored.save(tmp_path / "teacher.parquet")
    for width in (None, 2):
        clusters = made(clusters=3, external=External(table=tmp_path / "teacher.parquet", width=width))
        assert clusters.fields()[-1] == "number.cluster_external"
        labels = labels_of(clusters, "external", ALL)
        assert len(set(zip(groups.tolist(), labels, strict=True))) == 3  # one to one
        rows = unit(torch.from_numpy(table()["image/proto"]))
        got = clusters.centroids(labels_of="external", features_of="image")
        for k in range(3):
            there = [i for i in range(N) if labels[i] == k and i != 5]
            torch.testing.assert_close(got[k], rows[there].mean(0), rtol=1e-5, atol=1e-6)


def test_labels_can_teach_and_their_four_states_stay_apart():
    clusters = made(clusters=4, external=External(fields=("label.effusion",)))
    labels = labels_of(clusters, "external", ALL)
    assert len(set(labels[:4])) == 4
    assert labels == labels[:4] * (N // 4)
    assert "label.effusion" in map(str, clusters.refresh_needs())


def test_what_an_outside_teacher_lacks_has_no_cluster(tmp_path):
    stored = FeatureTable(["s1", "s2", "s9"], {"text/embedding": np.eye(3, dtype=np.float32)})
    stored.save(tmp_path / "teacher.parquet")
    clusters = made(clusters=2, external=External(table=tmp_path / "teacher.parquet"))
    labels = labels_of(clusters, "external", ALL)
    assert [i for i, label in enumerate(labels) if not math.isnan(label)] == [1, 2, 9]


# checkpoints and processes ------------------------------------------------------------------------------------------


def test_saved_clusters_go_on_bit_for_bit():
    whole, first, second = made(), made(), Clusters(clusters=5)
    second.load_state_dict({name: tensor.clone() for name, tensor in first.state_dict().items()})
    assert labels_of(second, "text", ALL)[:3] == labels_of(whole, "text", ALL)[:3]
    for clusters in (whole, second):
        clusters.refresh(table())
    assert whole.state_dict().keys() == second.state_dict().keys()
    assert all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in whole.state_dict().items())


def test_empty_clusters_are_saved_and_taken_back():
    saved = Clusters().state_dict()
    fresh = Clusters()
    fresh.load_state_dict(saved)
    with pytest.raises(ConfigError, match="clusters are empty: the phase must refresh them"):
        fresh.centroids(labels_of="text", features_of="image")


def state_of_part(bounds: list[int], options: dict) -> dict:
    """The state after a pass of which this process had the rows of its bounds."""
    features = table()
    begin, end = bounds[collectives.rank()], bounds[collectives.rank() + 1]
    clusters = Clusters(**options)
    clusters.refresh(features.rows(np.arange(begin, end)))
    return clusters.state_dict()


@pytest.mark.pool
@pytest.mark.parametrize(
    "options", [{"clusters": 5}, {"clusters": 7, "spherical": True}, {"clusters": 5, "unit_centroids": True}], ids=str
)
def test_one_process_is_two(pool, options):
    expected = state_of_part([0, N], options)
    for bounds in ([0, 30, N], [0, 1, N]):
        first, second = pool.run(2, state_of_part, bounds, options)
        assert all(torch.equal(first[name], second[name]) for name in first)  # the same bytes everywhere
        for name, tensor in expected.items():
            torch.testing.assert_close(first[name], tensor, rtol=0, atol=1e-5)


def outside_labels_of_part(path: str, width: int | None) -> list[float]:
    """The clusters of all samples by an outside teacher, of whom this process has one half."""
    own = np.arange(N // 2) + collectives.rank() * (N // 2) if collectives.world_size() > 1 else np.arange(N)
    return labels_of(made(table().rows(own), clusters=2, external=External(table=path, width=width)), "external", ALL)


@pytest.mark.pool
@pytest.mark.parametrize("width", [None, 2])
def test_an_outside_teacher_of_one_processs_samples_alone_is_one(pool, tmp_path, width):
    """It knows a site, whose records stand together in the manifest: the other process has none of them."""
    stored = FeatureTable(["s1", "s2", "s9"], {"text/embedding": np.eye(3, dtype=np.float32)[[0, 0, 1]]})
    stored.save(tmp_path / "teacher.parquet")
    path = str(tmp_path / "teacher.parquet")
    expected = torch.tensor(outside_labels_of_part(path, width))
    assert expected.isfinite().nonzero().flatten().tolist() == [1, 2, 9]
    for labels in pool.run(2, outside_labels_of_part, path, width):
        assert torch.equal(torch.tensor(labels).nan_to_num(-1), expected.nan_to_num(-1))


def stored_vectors_of_part() -> list[float]:
    """The same by a field of vectors, which the second half of the samples lacks: a pass then gives empty words."""
    several = collectives.world_size() > 1
    vectors = np.eye(2, dtype=np.float32)[np.arange(N) % 2]
    vectors[N // 2 :] = NAN
    first = FeatureTable(ALL[: N // 2], {"vector.teacher": vectors[: N // 2]})
    second = FeatureTable(ALL[N // 2 :], {"vector.teacher": [""] * (N // 2)})
    whole = FeatureTable(ALL, {"vector.teacher": vectors})
    clusters = Clusters(reads=(), clusters=2, external=External(fields=("vector.teacher",)))
    clusters.refresh((first, second)[collectives.rank()] if several else whole)
    return labels_of(clusters, "external", ALL)


@pytest.mark.pool
def test_vectors_that_one_processs_samples_all_lack_teach_the_others(pool):
    expected = torch.tensor(stored_vectors_of_part()).nan_to_num(-1)
    assert expected[: N // 2].unique().tolist() == [0, 1]
    assert expected[N // 2 :].unique().tolist() == [-1]
    assert all(
        torch.equal(torch.tensor(labels).nan_to_num(-1), expected) for labels in pool.run(2, stored_vectors_of_part)
    )


def test_what_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="name one part of each view"):
        Clusters(reads=["image/proto", "image/raw"])
    with pytest.raises(ConfigError, match="a table with a column, or fields: give one of the two"):
        Clusters(external=External())
    with pytest.raises(ConfigError, match=r"no space 'imge': did you mean 'image'"):
        made().centroids(labels_of="imge", features_of="text")
    with pytest.raises(ConfigError, match=r"nearest of state 'clusters' is 6, and there are 5 clusters: lower it"):
        Clusters(clusters=5, nearest=6)
    with pytest.raises(DataError, match=r"nearest of state 'clusters' is 7, and 6 clusters were made: lower it"):
        made(clusters=None, nearest=7)
    with pytest.raises(DataError, match="cannot make 61 clusters of 59 rows"):
        made(clusters=61)
    with pytest.raises(DataError, match=r"saved clusters are of image, text, not of external, image, text: resume"):
        made(external=External(fields=("label.effusion",)), clusters=3).load_state_dict(made().state_dict())
    FeatureTable(["x"], {"text/embedding": np.ones((1, 2), np.float32)}).save(tmp_path / "other.parquet")
    with pytest.raises(DataError, match=r"other.parquet has none of the training samples: give the table of this coho"):
        made(external=External(table=tmp_path / "other.parquet"))
    with pytest.raises(ConfigError, match=r"states.c.clusters is 0"):
        build("state", {"name": "clusters", "clusters": 0}, where="states.c")
