"""Long-CLIP's loss against a loop, its components against a singular value decomposition, and where it is CLIP."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medvlp.core import Context
from medvlp.core.encoded import unit
from medvlp.core.registry import build
from medvlp.objectives.long_clip import LongClip, main_components

D = torch.float64


def rows(count: int, width: int, seed: int) -> Tensor:
    return unit(torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=D))


def context(image: Tensor, long: Tensor, short: Tensor, **fields: list[str]) -> Context:
    words = {"text": [f"t{i}" for i in range(len(image))], "text.short": [f"s{i}" for i in range(len(image))], **fields}
    return Context.of({"image/embedding": image, "text/embedding": long, "text.short/embedding": short}, words)


def total(objective: object, ctx: Context) -> Tensor:
    return torch.stack([term.value() for term in objective(ctx).values()]).sum()  # type: ignore[operator]


def by_decomposition(x: Tensor, count: int) -> Tensor:
    """The authors' way (Long-CLIP, model/longclip.py), written from the formula."""
    mean = x.mean(dim=0)
    _, _, vectors = torch.linalg.svd(x - mean, full_matrices=False)
    return (x - mean) @ vectors[:count].T @ vectors[:count] + mean


def cross_entropy(scores: Tensor, smoothing: float) -> Tensor:
    return torch.nn.functional.cross_entropy(scores, torch.arange(len(scores)), label_smoothing=smoothing)


def test_the_loss_is_that_of_a_loop_over_both_texts() -> None:
    image, long, short = (rows(9, 6, seed) for seed in range(3))
    coarse = by_decomposition(image, 4)
    expected = sum(
        weight * (cross_entropy(v @ t.T, 0.1) + cross_entropy(t @ v.T, 0.1)) / 2
        for v, t, weight in ((image, long, 1.0), (coarse, short, 0.25))
    )
    got = total(LongClip(components=4, short_weight=0.25), context(image, long, short))
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)


def test_components_and_their_gradient_are_those_of_a_decomposition() -> None:
    ours, theirs = (rows(9, 6, 0).requires_grad_() for _ in range(2))
    found, expected = main_components(ours, 3), by_decomposition(theirs, 3)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert (found.detach().norm(dim=1) - 1).abs().max() > 0.05  # not brought back to unit length
    weight = rows(9, 6, 1)
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("width", [6, 40])
def test_equal_images_leave_a_finite_gradient(width: int) -> None:
    """A decomposition divides by the difference of their singular values, which is 0."""
    few = rows(5, width, 0)
    ours = torch.cat([few, few[:3], few[:3]]).requires_grad_()
    (main_components(ours, 2) * rows(11, width, 1)).sum().backward()
    assert ours.grad is not None
    assert bool(ours.grad.isfinite().all())
    assert bool(ours.grad.any())


def test_a_model_that_diverged_is_told_of_by_its_loss() -> None:
    """A decomposition of NaN is an error of the library that makes it."""
    assert main_components(torch.full((8, 4), torch.nan), 2).isnan().all()


def test_no_more_images_than_components_and_one_is_clip() -> None:
    """So a batch must exceed 33 for 32 components to do anything."""
    image, long, short = (rows(33, 40, seed) for seed in range(3))
    assert main_components(image, 32) is image
    assert (main_components(torch.cat([image, rows(1, 40, 9)]), 32)[:33] - image).abs().max() > 1e-3
    torch.testing.assert_close(by_decomposition(image, 32), image, rtol=0, atol=4e-7)
    clips = [
        build("objectives", {"name": "clip", "text": text, "label_smoothing": 0.1}, where="test") for text in TEXTS
    ]
    ctx = context(image, long, short)
    expected = total(clips[0], ctx) + total(clips[1], ctx)
    torch.testing.assert_close(total(LongClip(), ctx), expected, rtol=1e-12, atol=0)


TEXTS = ("text", "text.short")


def test_equal_short_texts_are_positives_and_the_long_ones_stay_apart() -> None:
    image, long, short = (rows(3, 4, seed) for seed in range(3))
    terms = LongClip(components=3, label_smoothing=0.0)(context(image, long, short, **{"text.short": ["n", "e", "N "]}))
    z = (image @ short.T).log_softmax(dim=1)
    expected = -(z[0, [0, 2]].mean() + z[1, 1] + z[2, [0, 2]].mean()) / 3
    torch.testing.assert_close(terms["image_to_short"].value(), expected / 2, rtol=1e-12, atol=0)
    torch.testing.assert_close(terms["image_to_text"].value(), cross_entropy(image @ long.T, 0.0) / 2)


def test_facts_are_read_of_both_texts_where_they_are_compared() -> None:
    views = LongClip(exclude="true_of").data_views()
    assert [view["field"] for view in views] == ["text", "text.short"]
    assert LongClip().data_views() == ()
