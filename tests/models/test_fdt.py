"""FDT (Chen et al. 2023): sparse shares of one codebook, by the token that fits a code best."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medvlp.core.encoded import Encoded
from medvlp.core.keys import Plan, keys
from medvlp.models.build import build_model
from medvlp.models.heads.fdt import Fdt, sparsemax
from tests.models.words import DUAL, HashWords, pairs


def head(codes: int = 12, **options: Any) -> Fdt:
    torch.manual_seed(0)
    made = Fdt(token_width=6, embed_dim=8, share=lambda name, make: make().double(), codes=codes, **options)
    return made.double().eval()


def rows(tokens: torch.Tensor, real: torch.Tensor | None = None) -> Encoded:
    mask = torch.ones(tokens.shape[:2], dtype=torch.bool) if real is None else real
    return Encoded(owner=torch.arange(len(tokens)), tokens=tokens, mask=mask)


def tokens(seed: int = 1) -> torch.Tensor:
    return torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# sparsemax ----------------------------------------------------------------------------------------------------------


def test_sparsemax_is_the_nearest_point_of_the_simplex() -> None:
    scores = torch.randn(20, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
    got = sparsemax(scores)
    for row, shares in zip(scores.tolist(), got.tolist(), strict=True):
        low, high = min(row) - 1, max(row)
        for _ in range(100):  # the threshold at which what is above it sums to 1
            middle = (low + high) / 2
            low, high = (middle, high) if sum(max(s - middle, 0) for s in row) > 1 else (low, middle)
        assert shares == pytest.approx([max(s - low, 0) for s in row], abs=1e-12)


def test_shares_sum_to_1_and_do_not_change_with_a_number_added_to_all_scores() -> None:
    scores = torch.randn(50, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 3
    torch.testing.assert_close(sparsemax(scores).sum(dim=1), torch.ones(50, dtype=torch.float64))
    torch.testing.assert_close(sparsemax(scores + 7.5), sparsemax(scores))
    assert (sparsemax(scores) == 0).float().mean() > 0.8


def test_shares_of_thousands_of_codes_sum_to_1_in_half_precision_too() -> None:
    scores = torch.randn(5, 2000, generator=torch.Generator().manual_seed(4)) / 1000
    for dtype in (torch.float16, torch.bfloat16):
        torch.testing.assert_close(sparsemax(scores.to(dtype)).sum(dim=1), torch.ones(5))


def test_its_gradient_is_its_derivative() -> None:
    scores = torch.randn(3, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sparsemax, scores)


def test_at_the_papers_temperature_most_of_2000_codes_have_a_share() -> None:
    """With standard normal scores the threshold t has 2000 E max(g - t, 0) = 1000: 58 % of the codes are above it."""
    scores = torch.randn(20, 2000, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    used = (sparsemax(scores / 1000) > 0).sum(dim=1).double()
    assert used.mean().item() == pytest.approx(1150, abs=30)
    assert (sparsemax(scores) > 0).sum(dim=1).max() < 10


# the head -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("activation", "share_out"), [("sparsemax", sparsemax), ("softmax", lambda s: s.softmax(1))])
def test_it_is_the_loop_over_tokens_and_codes(activation: Any, share_out: Any) -> None:
    made, seen = head(temperature=0.5, activation=activation), tokens()
    codes = made._book[0].codes
    given = made(rows(seen), "raw")
    for row in range(4):
        best = [
            max(float((made.query(seen[row, n]) @ codes[k]).detach()) / (0.5 * 8**0.5) for n in range(5))
            for k in range(len(codes))
        ]
        shares = share_out(torch.tensor([best], dtype=torch.float64))
        torch.testing.assert_close(given["raw_weights"][row], shares[0], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(given["raw"][row], (shares @ codes)[0], rtol=1e-10, atol=1e-12)


def test_the_order_of_tokens_does_not_matter() -> None:
    made, seen = head(temperature=0.5), tokens()
    shuffled = made(rows(seen[:, [3, 0, 4, 2, 1]]), "raw")
    torch.testing.assert_close(shuffled["raw"], made(rows(seen), "raw")["raw"])


def test_padding_cannot_win_where_all_real_scores_are_negative() -> None:
    """The reference code sets the scores of padding to 0, which is more than -1: here it stays out."""
    made = head(temperature=0.05)
    with torch.no_grad():
        made.query[-1].weight.zero_()
        made.query[-1].bias.copy_(torch.ones(8))
        made._book[0].codes.copy_(-torch.arange(1, 13, dtype=torch.float64)[:, None].expand(12, 8))
    seen, real = tokens(), torch.arange(5)[None].expand(4, 5) < 3
    scores = -torch.arange(1, 13, dtype=torch.float64) * 8**0.5 / 0.05
    given = made(rows(torch.where(real[:, :, None], seen, 1e6), real), "raw")
    torch.testing.assert_close(given["raw_weights"], sparsemax(scores[None]).expand(4, 12))
    torch.testing.assert_close(given["raw"], made(rows(seen[:, :3]), "raw")["raw"])
    assert given["raw_weights"][0, 0] == 1  # with the zeros of padding all codes would be equal


def test_a_text_of_padding_alone_has_equal_shares_and_finite_gradients() -> None:
    made, seen = head(), tokens().requires_grad_()
    real = torch.ones(4, 5, dtype=torch.bool)
    real[2] = False
    given = made(rows(seen, real), "raw")
    torch.testing.assert_close(given["raw_weights"][2], torch.full((12,), 1 / 12, dtype=torch.float64))
    given["raw"].sum().backward()
    assert seen.grad is not None
    assert seen.grad.isfinite().all()
    assert not seen.grad[2].any()


def test_as_the_projection_of_both_towers_it_makes_the_embedding_of_mixtures_of_one_codebook() -> None:
    spec = {**DUAL, "projection": {"name": "fdt", "codes": 12, "temperature": 1.0}}
    model = build_model(spec, tokenizer=HashWords(), seed=3).eval()
    plan = Plan.of(keys(*(f"{v}/{p}" for v in ("image", "text") for p in ("embedding", "raw_weights"))))
    found = model(pairs(), plan)
    codes = model.shared["codebook"].codes
    for view in ("image", "text"):
        mixed = torch.nn.functional.normalize(found[view].part("raw_weights") @ codes, dim=1)
        torch.testing.assert_close(found[view].part("embedding"), mixed)
