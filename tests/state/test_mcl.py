"""Clusters that each pass divides: the arithmetic of the labels, what has none, and that they are saved."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medvlp.core import Batch, ConfigError, FeatureTable
from medvlp.state.mcl import Mcl

IDS = [f"s{i}" for i in range(16)]
COLOUR, SHAPE, SIZE = (np.array([(i >> bit) & 1 for i in range(16)]) for bit in range(3))


def table(image: np.ndarray, text: np.ndarray, ids: list[str] = IDS) -> FeatureTable:
    def directions(values: np.ndarray) -> np.ndarray:
        return np.stack([np.cos(values), np.sin(values)], axis=1).astype(np.float32)

    return FeatureTable(ids, {"image/embedding": directions(image), "text/embedding": directions(text)})


def groups(labels: torch.Tensor) -> set[tuple[int, ...]]:
    return {tuple((labels == each).nonzero().flatten().tolist()) for each in labels.unique()}


def test_each_pass_divides_what_the_passes_before_left_together() -> None:
    mcl = Mcl(clusters=2)
    assert mcl.labels_of(IDS).tolist() == [-1] * 16
    mcl.refresh(table(COLOUR, COLOUR))
    first = mcl.labels_of(IDS)
    assert groups(first) == {tuple(np.flatnonzero(c == COLOUR).tolist()) for c in (0, 1)}
    mcl.refresh(table(SHAPE, SIZE))
    second = mcl.labels_of(IDS)
    # L <- 4 L + l: the stage before is the first digit, so nothing that it told apart comes together again.
    assert torch.equal(second // 4, first)
    assert len(groups(second)) == 8
    assert int(second.max()) < 16


def test_three_clusters_of_two_spaces_are_nine_labels_of_each_of_which_the_next_pass_makes_nine() -> None:
    ids, one = [f"s{i}" for i in range(81)], np.arange(81)
    mcl = Mcl(clusters=3)
    mcl.refresh(table(one % 3, one // 3 % 3, ids))
    first = mcl.labels_of(ids)
    assert sorted(set(first.tolist())) == list(range(9))
    mcl.refresh(table(one // 9 % 3, one // 27, ids))
    second = mcl.labels_of(ids)
    assert torch.equal(second // 9, first)
    assert sorted(second.tolist()) == list(range(81))


def test_only_samples_of_every_pass_have_a_label() -> None:
    mcl = Mcl(clusters=2)
    image = COLOUR.astype(float)
    image[3] = np.nan
    mcl.refresh(table(image, COLOUR))
    assert mcl.labels_of(["s3", "s4", "unknown"]).tolist()[::2] == [-1, -1]
    text = SHAPE[1:].astype(float)
    text[4] = np.nan  # s5 had a label until now
    mcl.refresh(table(SHAPE[1:], text, IDS[1:]))
    assert (mcl.labels_of(IDS) < 0).nonzero().flatten().tolist() == [0, 3, 5]
    batch = mcl.extend(Batch(("s3", "s4"), torch.arange(2), {}))
    values = batch["number.mcl"].values
    assert isinstance(values, torch.Tensor)
    assert values.isnan().tolist() == [True, False]


def test_what_was_saved_goes_on() -> None:
    first, second = Mcl(clusters=2, seed=3), Mcl(clusters=2, seed=3)
    first.refresh(table(COLOUR, SHAPE))
    second.load_state_dict(first.state_dict())
    for each in (first, second):
        each.refresh(table(SIZE, SHAPE))
    assert torch.equal(first.labels_of(IDS), second.labels_of(IDS))
    assert all(torch.equal(a, second.state_dict()[name]) for name, a in first.state_dict().items())


def test_too_many_passes_are_refused() -> None:
    mcl = Mcl(clusters=2)
    mcl._passes = 12
    with pytest.raises(ConfigError, match="mcl has divided its clusters 12 times: use fewer stages or clusters"):
        mcl.refresh(table(COLOUR, COLOUR))
