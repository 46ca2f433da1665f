"""A loss over tiles of rows is the loss over the whole matrix, in value and in every gradient."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import medvlp.objectives._targets as targets
from medvlp.core import Context
from medvlp.core.protocols import Score
from medvlp.core.registry import build
from medvlp.core.sample import Batch
from medvlp.models.scale import LogitScale
from medvlp.objectives import Similarity, contrast, sigmoid_contrast
from medvlp.objectives._similarity import by_tiles

ROWS, COLUMNS, WIDTH = 23, 17, 6


class Bilinear(Score):
    """A score with a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.eye(WIDTH, dtype=torch.float64) + 0.1)

    def forward(self, rows: Any, columns: Any) -> Tensor:
        return rows["embedding"] @ self.weight @ columns["embedding"].T


def masks() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    target = torch.rand(ROWS, COLUMNS, generator=draw) < 0.15
    target[3] = False  # a row without a positive
    return target, (torch.rand(ROWS, COLUMNS, generator=draw) < 0.2) & ~target


def value_and_gradients(entries: int, loss: Any) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    rows, columns = (
        torch.randn(n, WIDTH, generator=draw, dtype=torch.float64).requires_grad_() for n in (ROWS, COLUMNS)
    )
    score, scale = Bilinear(), LogitScale(init=3.0, bias=-1.0).double()
    target, exclude = masks()
    pair = Similarity({"embedding": rows}, {"embedding": columns}, score, scale)
    term = by_tiles(pair, lambda z, part: loss(z, target[part], exclude=exclude[part]), entries=entries)
    (2.5 * term.value()).backward()  # a factor that comes after the tiles
    leaves = [rows, columns, score.weight, *scale.parameters()]
    assert all(leaf.grad is not None for leaf in leaves)
    return [term.value().detach(), term.count, *(leaf.grad for leaf in leaves)]  # type: ignore[list-item]


LOSSES = {
    "shared": contrast,
    "any": partial(contrast, positives="any"),
    "each, decoupled": partial(contrast, positives="each", positive_in_denominator=False),
    "smoothed": partial(contrast, label_smoothing=0.1),
    "sigmoid": sigmoid_contrast,
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("entries", [1, 4 * COLUMNS, 10 * COLUMNS + 3])
def test_tiles_give_the_value_and_gradients_of_the_whole(loss: Any, entries: int) -> None:
    expected = value_and_gradients(ROWS * COLUMNS, loss)
    for got, want in zip(value_and_gradients(entries, loss), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-14)


def test_no_more_scores_than_asked_for_are_there_at_a_time() -> None:
    sizes = []

    def score(rows: Tensor, columns: Tensor) -> Tensor:
        sizes.append(len(rows) * len(columns))
        return rows @ columns.T

    pair = Similarity(torch.ones(ROWS, WIDTH), torch.ones(COLUMNS, WIDTH), score)
    by_tiles(pair, lambda z, part: contrast(z, torch.zeros(len(z), dtype=torch.int64)), entries=100)
    assert max(sizes) <= 100
    assert sum(sizes) == ROWS * COLUMNS  # and each is made once


def test_without_gradient_a_tile_leaves_no_graph() -> None:
    rows = torch.ones(ROWS, WIDTH, requires_grad=True)
    with torch.no_grad():
        term = by_tiles(
            Similarity(rows, rows, lambda a, b: a @ b.T),
            lambda z, part: contrast(z, torch.eye(ROWS)[part] > 0),
            entries=1,
        )
    assert not term.sum.requires_grad


@pytest.mark.parametrize("spec", ["clip", "siglip"])
@pytest.mark.parametrize("relation", [{}, {"exclude": "same_patient"}, {"positives": "shared_labels"}])
def test_objectives_do_not_depend_on_their_tiles(
    spec: str, relation: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = torch.Generator().manual_seed(2)
    rows = {f"{view}/embedding": torch.randn(12, 4, generator=draw, dtype=torch.float64) for view in ("image", "text")}
    fields = {"text": [f"report {i % 9}" for i in range(12)], "id.patient": [f"p{i % 7}" for i in range(12)]}
    batch = Batch.of({**fields, "label.effusion": torch.arange(12.0) % 2})

    def gradients() -> list[Tensor]:
        leaves = {key: values.clone().requires_grad_() for key, values in rows.items()}
        objective = build("objectives", {"name": spec, **relation}, where="test")
        terms = objective(Context.of(leaves, batch))
        sum(term.value() for term in terms.values()).backward()
        return [leaf.grad for leaf in leaves.values()]

    whole = gradients()
    monkeypatch.setattr(targets, "by_tiles", partial(by_tiles, entries=30))
    for got, want in zip(gradients(), whole, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-14)


def test_both_directions_of_one_process_are_one_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    plain = Similarity.of
    monkeypatch.setattr(Similarity, "of", lambda self, *sides: made.append(1) or plain(self, *sides))
    rows = {"image/embedding": torch.eye(3), "text/embedding": torch.eye(3)}
    build("objectives", {"name": "clip"}, where="test")(Context.of(rows, {"text": ["a", "b", "c"]}))
    assert len(made) == 1


def test_another_scale_is_that_of_both_directions() -> None:
    pair = Similarity(torch.eye(2), torch.eye(2), lambda a, b: a @ b.T, lambda z: 3 * z, two_way=True)
    ten = pair.turned().at(lambda z: 10 * z)
    assert torch.equal(ten.dense(), 10 * torch.eye(2))
    assert torch.equal(pair.turned().dense(), 3 * torch.eye(2))
