from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medvlp.core import Batch, ConfigError, Context, Part
from medvlp.core.keys import parse_key
from medvlp.core.sample import Sample
from medvlp.data.collate import collate
from medvlp.data.views.facts import Facts
from medvlp.objectives.hard_negatives import HardNegatives
from medvlp.objectives.img_diff import ImgDiff
from tests.objectives.world import Scale, rows

LABELS = ("effusion", "nodule", "edema")
NAN = float("nan")
# 0 and 1 differ in a nodule, 1 and 2 in an effusion, 0 and 2 in both; 3 is as 0 with an unknown edema; 4 is as 0.
VALUES = [[1, 0, 0], [1, 1, 0], [0, 1, 0], [1, 0, NAN], [1, 0, 0], [1, 1, -1]]
APART = {(0, 1), (1, 2), (1, 4), (3, 5)}  # 5: as 1 with an uncertain edema


def context(values: list[list[float]], texts: list[str] | None = None, batch: Batch | None = None) -> Context:
    n = len(values)
    parts = {
        parse_key(f"{v}/embedding"): Part(rows(n, k).requires_grad_(), torch.arange(n))
        for k, v in enumerate(("image", "text"))
    }
    labels = {f"label.{name}": torch.tensor([row[k] for row in values]) for k, name in enumerate(LABELS)}
    return Context(
        parts=parts, batch=batch or Batch.of({**labels, "text": texts or [str(k) for k in range(n)]}), scale=Scale()
    )


def loop(z: Tensor, apart: set[tuple[int, int]]) -> tuple[Tensor, int]:
    total, count = z.new_zeros(()), 0
    for i in range(len(z)):
        partners = [j for j in range(len(z)) if (i, j) in apart or (j, i) in apart]
        if partners:
            total, count = (
                total + torch.stack([z[i, i], *(z[i, j] for j in partners)]).logsumexp(0) - z[i, i],
                count + 1,
            )
    return total, count


def test_it_is_the_loop_over_pairs_that_differ_in_one_known_finding() -> None:
    ctx = context(VALUES)
    terms = ImgDiff(labels=LABELS)(ctx)
    z = ctx.scale(ctx["image/embedding"] @ ctx["text/embedding"].T)
    for name, scores in (("image_to_text", z), ("text_to_image", z.T)):
        total, count = loop(scores, APART)
        torch.testing.assert_close(terms[name].sum, 0.5 * total, rtol=1e-12, atol=0)
        assert terms[name].count.item() == count == 6


def test_equal_studies_are_no_pair_and_those_far_apart_neither() -> None:
    for values in ([[1, 0, 0], [1, 0, 0]], [[1, 0, 0], [0, 1, 0]], [[1, 0, 0], [1, NAN, 0]], [[1, 0, 0], [1, 1, NAN]]):
        term = ImgDiff(labels=LABELS)(context(values))["image_to_text"]
        assert (term.sum.item(), term.count.item()) == (0.0, 0.0), values


def test_more_findings_apart_are_more_pairs_and_never_others() -> None:
    """The card's thresholds are monotone: a pair of a narrower one is a pair of a wider one."""
    ctx = context(VALUES)
    image = ctx["image/embedding"]
    before = torch.zeros(len(VALUES), len(VALUES), dtype=torch.bool)
    for most in (1, 2, 3):
        one = ImgDiff(labels=LABELS, most=most)
        apart = one._apart(ctx, "image/embedding", "text/embedding")
        assert torch.equal(apart, apart.T)
        assert not apart.diagonal().any()
        assert (apart | before).equal(apart)
        before = apart
        (gradient,) = torch.autograd.grad(one(ctx)["image_to_text"].sum, image, retain_graph=True)
        assert torch.equal(gradient.abs().sum(dim=1) > 0, apart.any(dim=1))
    assert before.sum() > len(APART) * 2


def test_of_two_studies_it_is_the_hard_negatives_that_each_other_are() -> None:
    values = [[1, 0, 0], [1, 1, 0]]
    ctx = context(values)
    term = ImgDiff(labels=LABELS)(ctx)["image_to_text"]
    copies = Part(ctx["text/embedding"][[1, 0]], torch.arange(2))
    swapped = Context(
        parts={**ctx.parts, parse_key("text.negative/embedding"): copies}, batch=ctx.batch, scale=ctx.scale
    )
    torch.testing.assert_close(term.value(), 0.5 * HardNegatives()(swapped)["own_text"].value(), rtol=1e-12, atol=0)


def test_a_text_that_leaves_out_what_differs_is_no_negative() -> None:
    """The second study has a nodule, but the sentence drawn from its report is true of the first one too."""
    samples = []
    for name, text, report, nodule in (
        ("a", "Left effusion.", "Left effusion. No nodule.", 0.0),
        ("b", "Left effusion.", "Left effusion. Nodule.", 1.0),
    ):
        labels = {"label.effusion": 1.0, "label.nodule": nodule, "label.edema": 0.0}
        samples.append(Facts()(Sample(name, {"text": text, "text.report": report, **labels}), torch.Generator()))
    ctx = context([[1, 0, 0], [1, 1, 0]], batch=collate(samples, torch.arange(2)))
    assert ImgDiff(labels=LABELS)(ctx)["image_to_text"].count.item() == 2
    assert ImgDiff(labels=LABELS, exclude="true_of")(ctx)["image_to_text"].count.item() == 0


def test_without_labels_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="labels of objective 'img_diff' is empty"):
        ImgDiff(labels=[])
