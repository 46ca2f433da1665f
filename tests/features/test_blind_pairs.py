"""The miner finds what it should: planted pairs, each once, of different patients, whatever the blocks."""

from __future__ import annotations

import numpy as np
import pytest

from medvlp.core.errors import DataError
from medvlp.core.table import FeatureTable
from medvlp.features import blind_pairs as mined
from medvlp.features.blind_pairs import blind_pairs

COUNT = 24


def tables(noise: float = 0.0) -> tuple[FeatureTable, FeatureTable]:
    """Twelve contents, each shown twice in two orientations: ours sees the content, the other the orientation too."""
    draw = np.random.default_rng(0)
    content = np.repeat(np.linalg.qr(draw.normal(size=(16, 16)))[0][:12], 2, axis=0)
    turned = np.tile([1.0, -1.0], 12)
    ours = content + noise * draw.normal(size=content.shape)
    other = np.concatenate([content, turned[:, None] * content], axis=1) + noise * draw.normal(size=(COUNT, 32))
    ids = [f"p{i}" for i in range(COUNT)]
    return FeatureTable(ids, {"image/embedding": ours}), FeatureTable(ids[::-1], {"image/pooled": other[::-1]})


@pytest.mark.parametrize("block", [1, 5, 1024])
def test_it_finds_the_pairs_that_differ_in_orientation_only(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mined, "_BLOCK", block)
    found = blind_pairs(*tables())
    assert sorted(zip(found.first, found.second, strict=True)) == sorted(
        (f"p{i}", f"p{i + 1}") for i in range(0, 24, 2)
    )
    np.testing.assert_allclose(found.ours, 1.0)
    np.testing.assert_allclose(found.other, 0.0, atol=1e-12)


def test_pairs_are_those_of_a_loop_in_the_order_of_the_difference() -> None:
    ours, other = tables(noise=0.15)
    found = blind_pairs(ours, other, alike=0.2, apart=0.3)
    one = {row: v / np.linalg.norm(v) for row, v in zip(ours.ids, ours["image/embedding"], strict=True)}
    two = {row: v / np.linalg.norm(v) for row, v in zip(other.ids, other["image/pooled"], strict=True)}
    by_hand = {}
    for i, a in enumerate(ours.ids):
        for b in ours.ids[i + 1 :]:
            if one[a] @ one[b] > 0.2 and two[a] @ two[b] < 0.3:
                by_hand[a, b] = one[a] @ one[b] - two[a] @ two[b]
    assert len(by_hand) > 5
    assert list(zip(found.first, found.second, strict=True)) == sorted(by_hand, key=lambda each: -by_hand[each])


def test_patients_are_not_paired_with_themselves_and_without_another_table_all_alike_are_found() -> None:
    ours, other = tables()
    same = {f"p{i}": f"patient {i // 2}" for i in range(COUNT)}
    assert blind_pairs(ours, other, patients=same).first == ()
    found = blind_pairs(ours, None)
    assert len(found.first) == 12
    assert found.apart is None
    assert np.isnan(found.other).all()


def test_quantiles_are_shares_of_all_pairs() -> None:
    ours, other = tables(noise=0.3)
    found = blind_pairs(ours, other, by="quantile", alike=0.9, apart=1.0)
    pairs = COUNT * (COUNT - 1) / 2
    assert 0 < len(found.first) <= 0.1 * pairs + 1
    assert found.ours.min() > found.alike


def test_tables_that_do_not_fit_are_refused() -> None:
    ours, other = tables()
    with pytest.raises(DataError, match="the tables have 0 in common"):
        blind_pairs(ours, FeatureTable(["x"], {"image/embedding": np.ones((1, 2))}))
    with pytest.raises(DataError, match="the tables have 0 in common"):  # no record has a picture
        blind_pairs(ours, FeatureTable(list(ours.ids), {"image/embedding": np.full((COUNT, 2), np.nan)}))
    with pytest.raises(DataError, match="no vectors of pictures among text/embedding: make it anew"):
        blind_pairs(FeatureTable(list(ours.ids), {"text/embedding": np.ones((COUNT, 2))}), other)


def test_more_pairs_than_can_be_held_are_refused_before_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medvlp.features.blind_pairs._PAIRS", 9)
    monkeypatch.setattr("medvlp.features.blind_pairs._BLOCK", 2)
    assert len(blind_pairs(_like(4), None).first) == 6
    with pytest.raises(DataError, match=r"More than 9 pairs of 30 records are alike above 0.950, .*give other limits"):
        blind_pairs(_like(30), None)


def _like(count: int) -> FeatureTable:
    return FeatureTable([str(i) for i in range(count)], {"image/embedding": np.ones((count, 2))})
