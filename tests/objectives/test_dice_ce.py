"""Dice and cross entropy: MONAI's numbers, a loop over pixels, unknown classes, chunks, processes, and overfitting."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from medvlp.core import Context, Part, collectives
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.keys import parse_key
from medvlp.core.sample import Batch, Column
from medvlp.models.bank import Bank, encoded_bank
from medvlp.objectives.dice_ce import DiceCe
from tests.objectives.pictures import batch_of, discs, fit, make_task

KEY = parse_key("image/segmentation")


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def context(logits: Tensor, masks: dict[str, tuple[Tensor, list[int]]]) -> Context:
    owner = torch.arange(len(logits))
    columns = {f"mask.{n}": Column(values, torch.tensor(rows)) for n, (values, rows) in masks.items()}
    batch = Batch(tuple(map(str, owner.tolist())), owner, columns)
    return Context(parts={KEY: Part(logits, owner)}, batch=batch, chunk=True)


def apart(rows: int, *size: int) -> tuple[Tensor, Tensor]:
    """Two masks that do not overlap."""
    drawn = torch.randint(0, 3, (rows, *size), generator=torch.Generator().manual_seed(1))
    return drawn == 1, drawn == 2


@pytest.mark.parametrize("size", [(9, 7), (4, 6, 5)])
@pytest.mark.parametrize("exclusive", [False, True])
def test_with_every_class_known_it_is_monais_loss(size: tuple[int, ...], exclusive: bool) -> None:
    from monai.losses import DiceCELoss, DiceLoss

    one, two = apart(3, *size)
    logits = rand(3, 2 + exclusive, *size).requires_grad_()
    terms = DiceCe(labels=["a", "b"], exclusive=exclusive)(
        context(logits, {"a": (one, [0, 1, 2]), "b": (two, [0, 1, 2])})
    )
    ours = terms["dice"].value() + terms["cross_entropy"].value()
    if exclusive:
        loss = DiceCELoss(softmax=True, to_onehot_y=True, include_background=False)
        theirs = loss(logits, (one.long() + 2 * two.long())[:, None])
    else:
        # Its DiceCELoss takes a softmax for the cross entropy, whatever Dice takes.
        masks = torch.stack([one, two], dim=1).double()
        theirs = DiceLoss(sigmoid=True)(logits, masks) + torch.nn.BCEWithLogitsLoss()(logits, masks)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)))


def test_an_unknown_class_is_left_out_and_an_empty_one_is_not() -> None:
    """Row 0 lacks the field b, row 1 has it without a pixel: a loop over what is known."""
    one, _ = apart(2, 5, 5)
    logits = rand(2, 2, 5, 5)
    empty = torch.zeros(1, 5, 5, dtype=torch.bool)
    terms = DiceCe(labels=["a", "b"])(context(logits, {"a": (one, [0, 1]), "b": (empty, [1])}))
    dice, entropy = [], []
    for row, k, mask in ((0, 0, one[0]), (1, 0, one[1]), (1, 1, empty[0])):
        p = logits[row, k].sigmoid()
        both = sum(float(p[i, j]) * float(mask[i, j]) for i in range(5) for j in range(5))
        dice.append(1 - (2 * both + 1e-5) / (float(p.sum()) + float(mask.sum()) + 1e-5))
        entropy.append(
            -sum(math.log(float(p[i, j] if mask[i, j] else 1 - p[i, j])) for i in range(5) for j in range(5)) / 25
        )
    assert terms["dice"].count == 3
    assert float(terms["dice"].value()) == pytest.approx(sum(dice) / 3)
    assert float(terms["cross_entropy"].value()) == pytest.approx(sum(entropy) / 3)


def test_of_exclusive_classes_the_unknown_is_merged_with_the_background() -> None:
    """Shi et al. 2021: where b is unknown the truth is "a or something else", so b and background are one channel."""
    one, _ = apart(1, 4, 4)
    logits = rand(1, 3, 4, 4).requires_grad_()
    terms = DiceCe(labels=["a", "b"], exclusive=True)(context(logits, {"a": (one, [0])}))
    merged = torch.stack([logits[:, [0, 2]].logsumexp(1), logits[:, 1]], dim=1)
    loss = torch.nn.functional.cross_entropy(merged, one.long())
    torch.testing.assert_close(terms["cross_entropy"].value(), loss)
    assert terms["dice"].count == 1
    nothing = DiceCe(labels=["a", "b"], exclusive=True)(context(logits, {}))
    assert nothing["cross_entropy"].count == 0
    assert nothing["dice"].value() == 0


def test_padded_slices_take_no_part() -> None:
    key, logits = parse_key("stack/segmentation"), rand(2, 1, 3, 4, 4)
    mask, real = rand(2, 3, 4, 4, seed=3) > 0, torch.tensor([[True, True, True], [True, False, False]])
    masks = {"mask.a": Column(mask & real[:, :, None, None], torch.arange(2))}
    columns = masks | {"stack": Column(torch.zeros(2, 3, 1, 4, 4), torch.arange(2), real)}
    ctx = Context(parts={key: Part(logits, torch.arange(2))}, batch=batch_of(columns, 2), chunk=True)
    whole = DiceCe(labels=["a"], view="stack")(ctx)
    sums = {"dice": 0.0, "cross_entropy": 0.0}
    for row, count in ((0, 3), (1, 1)):
        part = {"mask.a": Column(mask[row : row + 1, :count], torch.arange(1))}
        alone = Context(
            parts={key: Part(logits[row : row + 1, :, :count], torch.arange(1))}, batch=batch_of(part, 1), chunk=True
        )
        for name, term in DiceCe(labels=["a"], view="stack")(alone).items():
            sums[name] += float(term.sum)
    for name, value in sums.items():
        assert float(whole[name].sum) == pytest.approx(value)


def test_several_views_of_a_sample_have_their_masks_in_order() -> None:
    one, _ = apart(3, 4, 4)
    logits = rand(3, 1, 4, 4)
    owner = torch.tensor([0, 1, 1])
    batch = Batch(("x", "y"), torch.arange(2), {"mask.a": Column(one[1:], torch.tensor([1, 1]))})
    terms = DiceCe(labels=["a"])(Context(parts={KEY: Part(logits, owner)}, batch=batch, chunk=True))
    expected = DiceCe(labels=["a"])(context(logits[1:], {"a": (one[1:], [0, 1])}))
    torch.testing.assert_close(terms["dice"].sum, expected["dice"].sum)
    lacking = Batch(("x", "y"), torch.arange(2), {"mask.a": Column(one[1:2], torch.tensor([1]))})
    with pytest.raises(DataError, match=r"another number of rows of 'mask\.a' than of views"):
        DiceCe(labels=["a"])(Context(parts={KEY: Part(logits, owner)}, batch=lacking, chunk=True))


def test_what_cannot_be_is_refused() -> None:
    one, two = apart(1, 4, 4)
    with pytest.raises(DataError, match=r"'mask\.a' has the size 4 x 4 and its view 8 x 8: let the views that shape"):
        DiceCe(labels=["a"])(context(rand(1, 1, 8, 8), {"a": (one, [0])}))
    with pytest.raises(DataError, match="classes that exclude each other overlap"):
        DiceCe(labels=["a", "b"], exclusive=True)(context(rand(1, 3, 4, 4), {"a": (one, [0]), "b": (one | two, [0])}))
    with pytest.raises(ConfigError, match="gives 3 channels and 1 are taught"):
        DiceCe(labels=["a"])(context(rand(1, 3, 4, 4), {"a": (one, [0])}))
    with pytest.raises(ConfigError, match=r"labels of objective 'dice_ce' are \['a', 'a'\]: name each class once"):
        DiceCe(labels=["a", "a"])
    with pytest.raises(ConfigError, match="leave out classes, which labels tell"):
        DiceCe(labels=["a"], decoder={"name": "unet", "classes": 3})


@pytest.mark.parametrize("exclusive", [False, True])
def test_scores_beside_the_logits_have_their_weight_of_the_same_cross_entropy(exclusive: bool) -> None:
    one, two = apart(2, 4, 4)
    masks = {"a": (one, [0, 1]), "b": (two[:1], [0])}
    logits, scores = rand(2, 2 + exclusive, 4, 4), rand(2, 2 + exclusive, 4, 4, seed=1)
    ctx = context(logits, masks)
    both = Context(
        parts={**ctx.parts, parse_key("image/segmentation_scores"): Part(scores, torch.arange(2))},
        batch=ctx.batch,
        chunk=True,
    )
    objective = DiceCe(labels=["a", "b"], exclusive=exclusive, scores=0.4)
    assert parse_key("image/segmentation_scores") in objective.needs()
    terms, plain = objective(both), DiceCe(labels=["a", "b"], exclusive=exclusive)
    expected = plain(context(scores, masks))["cross_entropy"].value()
    torch.testing.assert_close(terms.pop("scores").value(), 0.4 * expected)
    assert terms.keys() == plain(ctx).keys()


def pictures() -> Batch:
    """Eight pictures; the bar is drawn in five of them, so that one process of four knows nothing of it."""
    pixels, disc, bar = discs(8)
    owner, known = torch.arange(8), torch.tensor([0, 1, 3, 4, 5])
    return batch_of(
        {"image": Column(pixels, owner), "mask.disc": Column(disc, owner), "mask.bar": Column(bar[known], known)}, 8
    )


def step(exclusive: bool, chunks: int) -> dict[str, Any]:
    """One step's log and gradients on this process's part of the pictures."""
    task = make_task(
        [{"name": "dice_ce", "labels": ["disc", "bar"], "exclusive": exclusive}], chunks=chunks, dtype=torch.float64
    )
    size = 8 // collectives.world_size()
    part = pictures().take(collectives.rank() * size, (collectives.rank() + 1) * size)
    part = Batch(part.ids, part.positions, {n: c for n, c in part.columns.items() if len(c.owner)})
    log = task.backward(part, {"dice_ce": 1.0}, samples_seen=0)
    named = task.named_parameters()
    return {"terms": dict(log.terms)} | {name: p.grad.clone() for name, p in named if p.grad is not None}


def same(expected: dict[str, Any], got: dict[str, Any]) -> None:
    assert got["terms"] == pytest.approx(expected["terms"], rel=1e-10)
    assert got.keys() == expected.keys()
    for name, gradient in expected.items():
        if name != "terms":
            torch.testing.assert_close(got[name], gradient, rtol=1e-9, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_step_of_which_no_mask_is_known_teaches_nothing(exclusive: bool) -> None:
    task = make_task([{"name": "dice_ce", "labels": ["disc", "bar"], "exclusive": exclusive}])
    log = task.backward(batch_of({"image": pictures()["image"]}, 8), {"dice_ce": 1.0}, samples_seen=0)
    assert set(log.terms.values()) == {0.0}
    assert not any(bool(p.grad.any()) for p in task.parameters() if p.grad is not None)


@pytest.mark.parametrize("exclusive", [False, True])
def test_one_chunk_is_four(exclusive: bool) -> None:
    expected = step(exclusive, 1)
    assert sum(bool(g.abs().max() > 1e-9) for n, g in expected.items() if "heads" in n) > 10
    same(expected, step(exclusive, 4))


@pytest.mark.pool
@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_one_process_is_several(pool: Any, processes: int) -> None:
    expected = step(False, 1)
    for got in pool.run(processes, step, False, 1):
        same(expected, got)


@pytest.mark.slow
@pytest.mark.parametrize("exclusive", [False, True])
def test_four_pictures_are_learnt_by_heart(exclusive: bool) -> None:
    pixels, disc, bar = discs(4)
    owner = torch.arange(4)
    batch = batch_of(
        {"image": Column(pixels, owner), "mask.disc": Column(disc, owner), "mask.bar": Column(bar, owner)}, 4
    )
    task = make_task([{"name": "dice_ce", "labels": ["disc", "bar"], "exclusive": exclusive}])
    fit(task, batch, steps=90, rate=4e-3)
    with torch.no_grad():
        logits = task.model(batch, task.plan)["image"].part("segmentation")
    found = [logits.argmax(1) == 1, logits.argmax(1) == 2] if exclusive else [logits[:, 0] > 0, logits[:, 1] > 0]
    for guess, truth in zip(found, (disc, bar), strict=True):
        both = (guess & truth).flatten(1).sum(1)
        dice = 2 * both / (guess.flatten(1).sum(1) + truth.flatten(1).sum(1))
        assert float(dice.min()) > 0.95


@pytest.mark.slow
def test_score_maps_with_their_loss_draw_better_than_a_plain_pyramid_after_as_many_steps() -> None:
    """The ablation of DenseCLIP: words beside the levels, and a loss of their own; unseen pictures, four seeds."""
    words = {"b": encoded_bank(Bank("b", ("a disc", "a bar")), {"name": "hashed_words", "width": 32}, where="test")}
    dense = {"name": "dense_clip", "bank": "b", "width": 16, "decoder_width": 32, "decoder_layers": 1}

    def drawn(decoder: dict[str, Any], seed: int, **options: float) -> float:
        torch.manual_seed(seed)
        (pixels, *masks), (unseen, *truth) = discs(16, seed=seed), discs(32, seed=100 + seed)
        every = torch.arange(16)
        columns = {f"mask.{name}": Column(mask, every) for name, mask in zip(("disc", "bar"), masks, strict=True)}
        spec = {"name": "dice_ce", "labels": ["disc", "bar"], "decoder": decoder, **options}
        task = make_task([spec], banks=words)
        fit(task, batch_of({"image": Column(pixels, every), **columns}, 16), steps=15, rate=2e-3)
        with torch.no_grad():
            rows = task.model.eval()(batch_of({"image": Column(unseen, torch.arange(32))}, 32), task.plan)["image"]
        guess, real = rows.part("segmentation") > 0, torch.stack(truth, dim=1)
        return float((2 * (guess & real).flatten(2).sum(2) / (guess.flatten(2).sum(2) + real.flatten(2).sum(2))).mean())

    plain = [drawn({"name": "fpn", "width": 16}, seed) for seed in range(4)]
    helped = [drawn(dense, seed, scores=0.4) for seed in range(4)]
    assert sum(helped) > sum(plain)
