"""SigLIP in a ring of processes: value and gradients are those of all rows on one, however many rows each has."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from medvlp.core import Batch, Column, Context, Part, collectives
from medvlp.core.errors import ConfigError
from medvlp.core.keys import parse_key
from medvlp.models.scale import LogitScale
from medvlp.objectives._ring import by_ring
from medvlp.objectives.siglip import Siglip

REPORTS = {"distinct": "abcdefgh", "equal": "abacdbaa"}


def gradients(counts: list[int], words: str, ring: bool, exclude: str) -> dict[str, Tensor]:
    """The term of this process's rows, and the gradients of its rows and of the scale and bias."""
    rank = collectives.rank()
    own = slice(sum(counts[:rank]), sum(counts[: rank + 1])) if len(counts) > 1 else slice(None)
    draws = torch.Generator().manual_seed(0)
    image, text = (
        torch.randn(sum(counts), 3, generator=draws, dtype=torch.float64)[own].requires_grad_() for _ in "it"
    )
    rows = torch.arange(len(image))
    column = Column(tuple(REPORTS[words][: sum(counts)][own]), rows)
    batch = Batch(tuple(map(str, rows.tolist())), rows + own.start if own.start else rows, {"text": column})
    parts = {parse_key("image/embedding"): Part(image, rows), parse_key("text/embedding"): Part(text, rows)}
    scale = LogitScale(init=3.0, bias=-1.0).double()
    siglip = Siglip(positives="own" if exclude != "none" else "same_report", exclude=exclude, ring=ring)
    term = siglip(Context(parts=parts, batch=batch, scale=scale))["pairs"]
    names = ("image", "text", "scale", "bias")
    found = torch.autograd.grad(2 * term.sum, [image, text, *scale.parameters()])
    return {"sum": term.sum.detach(), "count": term.count, **dict(zip(names, found, strict=True))}


@pytest.mark.pool
@pytest.mark.parametrize("exclude", ["none", "same_report"])
@pytest.mark.parametrize("words", list(REPORTS))
@pytest.mark.parametrize("counts", [[2, 2], [3, 1], [0, 2], [1, 0, 3, 2]])
def test_a_ring_gives_what_one_process_gives(pool: Any, counts: list[int], words: str, exclude: str) -> None:
    whole = gradients([sum(counts)], words, False, exclude)
    found = pool.run(len(counts), gradients, counts, words, True, exclude)
    for name in ("sum", "count", "scale", "bias"):
        torch.testing.assert_close(sum(each[name] for each in found), whole[name], rtol=1e-10, atol=1e-12)
    for name in ("image", "text"):
        torch.testing.assert_close(torch.cat([each[name] for each in found]), whole[name], rtol=1e-10, atol=1e-12)


def test_where_no_gradient_is_asked_for_none_is_made() -> None:
    scale, asked = torch.ones((), requires_grad=True), []

    def block(rows: Tensor, columns: Tensor, source: int) -> Tensor:
        found = scale * (rows @ columns.T).sum()
        asked.append(found.requires_grad)
        return found

    for given in ((), (scale,)):
        by_ring(block, torch.ones(1, 2), torch.ones(3, 2), [3], given)
    with torch.no_grad():
        by_ring(block, torch.ones(1, 2), torch.ones(3, 2), [3], (scale,))
    assert asked == [False, True, False]


def test_a_score_of_more_than_an_embedding_cannot_be_passed_round() -> None:
    with pytest.raises(ConfigError, match=r"passes embeddings round, and the score 'late_interaction' reads"):
        Siglip(ring=True, score="late_interaction")
