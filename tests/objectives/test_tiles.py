"""A loss over tiles of rows is the loss over the whole matrix, in value and in every gradient."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import medvlp.objectives._compared as compared
from medvlp.core import Context, Part
from medvlp.core.protocols import Score
from medvlp.core.registry import build
from medvlp.core.sample import Batch
from medvlp.models.scale import LogitScale
from medvlp.objectives import Similarity, _similarity, _tiles, contrast, sigmoid_contrast
from medvlp.objectives._tiles import by_tiles

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


KINDS = ("index", "positives", "distribution", "learned distribution")
GRID = [
    (kind, reading, decoupled)
    for kind in KINDS
    for reading in ("shared", "any", "each")
    for decoupled in (False, True)
    if "distribution" not in kind or (reading == "shared" and not decoupled)
]


def loss_and_gradients(
    kind: str, reading: Any, decoupled: bool, smoothing: float, masked: bool, asked: bool, dense: bool
) -> list[Tensor]:
    draw = torch.Generator().manual_seed(3)
    rows, columns = (
        torch.randn(n, WIDTH, generator=draw, dtype=torch.float64).requires_grad_() for n in (ROWS, COLUMNS)
    )
    positive, exclude = masks()
    target = torch.where(positive.any(dim=1), positive.int().argmax(dim=1), -1) if kind == "index" else positive
    logits = torch.randn(ROWS, COLUMNS, generator=draw, dtype=torch.float64).requires_grad_(kind == KINDS[3])
    if "distribution" in kind:
        target = logits.softmax(dim=1)
    weight = torch.rand(ROWS, generator=draw, dtype=torch.float64)
    weight[5] = 0
    leaves = [rows, columns, *([logits] if kind == KINDS[3] else []), *([weight.requires_grad_()] if masked else [])]
    pair = Similarity(rows, columns, lambda a, b: 3 * a @ b.T)
    of_rows = (lambda each: lambda part: each[part]) if asked else (lambda each: each)
    term = contrast(
        pair.dense() if dense else pair,
        target if kind == KINDS[3] else of_rows(target),
        exclude=of_rows(exclude) if masked else None,
        row_weight=weight if masked else None,
        positives=reading,
        positive_in_denominator=not decoupled,
        label_smoothing=smoothing,
    )
    (2.5 * term.value()).backward()
    return [term.sum.detach(), term.count, *(leaf.grad for leaf in leaves)]  # type: ignore[list-item]


@pytest.mark.parametrize(("kind", "reading", "decoupled"), GRID)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masks and weights"])
@pytest.mark.parametrize("asked", [False, True], ids=["given", "built by tile"])
def test_every_target_and_reading_goes_by_tiles(
    kind: str, reading: str, decoupled: bool, smoothing: float, masked: bool, asked: bool, small_tiles: None
) -> None:
    options = kind, reading, decoupled, smoothing, masked, asked
    for got, want in zip(loss_and_gradients(*options, dense=False), loss_and_gradients(*options, True), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-14)


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_similarity, "TILE", 4 * COLUMNS)


def test_rows_that_are_not_those_of_the_scores_are_refused() -> None:
    pair = Similarity(torch.eye(3), torch.eye(3), lambda a, b: a @ b.T)
    with pytest.raises(ValueError, match="target has 4 rows, and the scores have 3"):
        contrast(pair, torch.arange(4))


class Largest(TorchDispatchMode):
    """The most numbers of any tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        made = [each for each in tree_leaves(out) if isinstance(each, Tensor)]
        self.numbers = max([self.numbers, *(each.untyped_storage().nbytes() // each.itemsize for each in made)])
        return out


MANY, VIEWS = 64, ("image", "text")
DENSE = MANY * MANY
BY_TILES = [
    {"name": "clip", "exclude": "same_patient", "label_smoothing": 0.1},
    {"name": "clip", "positives": "shared_labels", "reading": "each"},
    {"name": "siglip", "exclude": "same_patient"},
    {"name": "dcl", "sigma": None},
    {"name": "dcl", "exclude": "same_patient", "within": True},
    {"name": "lightclip"},
    {"name": "medclip", "labels": ["effusion"]},
]


@pytest.mark.parametrize("spec", BY_TILES, ids=lambda spec: "-".join(map(str, spec.values())))
def test_no_tensor_of_a_step_has_the_size_of_all_pairs(spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for tile in (DENSE, 4 * MANY):
        monkeypatch.setattr(_similarity, "TILE", tile)
        draw = torch.Generator().manual_seed(4)
        rows = {
            f"{view}/embedding": torch.randn(MANY, 2, generator=draw).requires_grad_() for view in ("image", "text")
        }
        fields = {"text": [f"r{i % 50}" for i in range(MANY)], "id.patient": [f"p{i % 40}" for i in range(MANY)]}
        ctx = Context.of(rows, Batch.of({**fields, "label.effusion": torch.arange(float(MANY)) % 2}))
        with Largest() as largest:
            sum(term.value() for term in build("objectives", spec, where="test")(ctx).values()).backward()
        found.append(largest.numbers)
    assert found[0] >= DENSE
    assert found[1] <= DENSE / 4


@pytest.mark.parametrize("spec", ["clip", "siglip", "dcl", "lightclip"])
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
    monkeypatch.setattr(_similarity, "TILE", 30)
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


@pytest.mark.parametrize("spec", ["clip", "siglip"])
@pytest.mark.parametrize("reports", [["a", "b", "c", "d"], ["a", "", "c", ""], ["a", "b", "a", "d"]])
@pytest.mark.parametrize("of_text", [[0, 1, 2, 3], [0, 2, 3], [0, 0, 2, 3]])
@pytest.mark.parametrize("tile", [8, 2**20])
def test_samples_that_all_differ_need_no_mask(
    spec: str, reports: list[str], of_text: list[int], tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without text, with an equal one, with two rows: value and gradients are those of the mask of all pairs."""
    draw = torch.Generator().manual_seed(6)
    image = torch.randn(4, 3, generator=draw, dtype=torch.float64).requires_grad_()
    text = torch.randn(len(of_text), 3, generator=draw, dtype=torch.float64).requires_grad_()
    monkeypatch.setattr(_similarity, "TILE", tile)
    rows = {"image/embedding": image, "text/embedding": Part(text, torch.tensor(of_text))}
    found = []
    for single in (True, False):
        if not single:
            monkeypatch.setattr(compared, "own_columns", lambda *args, **kwargs: None)
        terms = build("objectives", {"name": spec}, where="test")(Context.of(rows, {"text": reports}))
        value = torch.stack([term.value() for term in terms.values()]).sum()
        counts = [term.count for term in terms.values()]
        found.append([value.detach(), *counts, *torch.autograd.grad(value, [image, text])])
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("parts", [("embedding",), ("tokens", "mask")])
def test_more_columns_beside_are_the_scores_of_each(parts: tuple[str, ...]) -> None:
    """Tokens of the shorter side are padded, and their mask says so."""
    draw = torch.Generator().manual_seed(5)

    def side(count: int, length: int) -> dict[str, Tensor]:
        if parts == ("embedding",):
            return {"embedding": torch.randn(count, 4, generator=draw)}
        return {"tokens": torch.randn(count, length, 4, generator=draw), "mask": torch.ones(count, length) > 0}

    def score(rows: Any, columns: Any) -> Tensor:
        if parts == ("embedding",):
            return rows["embedding"] @ columns["embedding"].T
        sums = [(each["tokens"] * each["mask"][..., None]).sum(dim=1) for each in (rows, columns)]
        return sums[0] @ sums[1].T / columns["mask"].sum(dim=1)

    rows, first, second = side(3, 2), side(2, 5), side(4, 3)
    whole = Similarity(rows, first, score).beside(Similarity(rows, second, score)).dense()
    torch.testing.assert_close(whole, torch.cat([score(rows, first), score(rows, second)], dim=1))


def test_that_scores_are_formed_by_tiles_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    rows = torch.eye(40, 2)
    pair = Similarity(rows, rows, lambda a, b: a @ b.T)
    _tiles._tell.cache_clear()
    with caplog.at_level("INFO"):
        for entries in (1600, 400, 400):
            by_tiles(pair, lambda z, part: contrast(z, torch.arange(40)[part]), entries=entries)
    assert [record.message.partition(",")[0] for record in caplog.records] == [
        "Over 0.00391 MiB of scores are formed by tiles of 0.00153"
    ]
