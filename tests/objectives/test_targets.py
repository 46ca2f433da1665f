"""Who is whose positive, of batches as the data side makes them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from medvlp.core import Context, Part, Sample
from medvlp.core.keys import parse_key
from medvlp.data.collate import collate
from medvlp.data.pipeline import apply_views
from medvlp.data.views.rewrite import Rewrite
from medvlp.data.views.sentences import Sentences
from medvlp.objectives._targets import related

CLEAR = "The lungs are clear. No effusion. No pneumothorax. The heart is normal in size."
ILL = "Left effusion. No pneumothorax. Rib fracture on the right."


def context(samples: Sequence[Sample], *fields: str) -> Context:
    """One image a sample, and the rows of text fields as their encoder would own them."""
    batch = collate(samples, torch.arange(len(samples)))
    parts = {parse_key("image/embedding"): Part(torch.eye(len(samples)), torch.arange(len(samples)))}
    for field in fields:
        owner = batch[field].owner
        parts[parse_key(f"{field}/embedding")] = Part(torch.zeros(len(owner), 2), owner)
    return Context(parts=parts, batch=batch)


def drawn(views: list, *reports: str) -> list[Sample]:
    return [apply_views(Sample(str(i), {"text": t}), views, draw=i) for i, t in enumerate(reports)]


@pytest.mark.parametrize(
    "views", [[Sentences(probability=1.0, most=1)], [Rewrite(probability=1.0), Sentences(probability=1.0, most=2)]]
)
def test_a_report_stays_the_same_whatever_was_drawn_of_it(views: list) -> None:
    """Six samples of one report and one of another: their drawn texts differ."""
    samples = drawn(views, *[CLEAR] * 6, ILL)
    assert len({sample.fields["text"] for sample in samples[:6]}) > 1
    ctx = context(samples, "text")
    for rows, columns in (("image", "text"), ("text", "image")):
        same = related(ctx, "same_report", rows=f"{rows}/embedding", columns=f"{columns}/embedding", text="text")
        assert same[:6, :6].all()
        assert same[6].int().tolist() == [0] * 6 + [1]


def test_single_sentences_of_two_reports_are_the_same_where_they_are_equal() -> None:
    """`extra` rows: what two different reports both say is no negative of either."""
    samples = drawn([Sentences(probability=0.0, extra=8)], CLEAR, ILL)
    texts = [str(row) for sample in samples for row in sample.fields["text"]]
    owner = [i for i, sample in enumerate(samples) for _ in sample.fields["text"]]
    shared = {t for t, i in zip(texts, owner, strict=True) if i == 0} & {
        t for t, i in zip(texts, owner, strict=True) if i == 1
    }
    assert shared == {"No pneumothorax."}  # with these draws
    same = related(
        context(samples, "text"), "same_report", rows="image/embedding", columns="text/embedding", text="text"
    )
    for sample in range(2):
        assert same[sample].tolist() == [i == sample or t in shared for t, i in zip(texts, owner, strict=True)]


def test_another_field_than_the_report_compares_itself() -> None:
    """Two samples of one report whose impressions differ, and two of different reports with one impression."""
    impressions = ("Normal.", "No change.", "normal.")
    fields = [{"text": t, "text.impression": i} for t, i in zip((CLEAR, CLEAR, ILL), impressions, strict=True)]
    samples = [
        apply_views(Sample(str(n), f), [Sentences(probability=1.0, most=1)], draw=n) for n, f in enumerate(fields)
    ]
    ctx = context(samples, "text", "text.impression")
    same = related(
        ctx, "same_report", rows="image/embedding", columns="text.impression/embedding", text="text.impression"
    )
    assert same.int().tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
