from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from medvlp.core import Batch, ConfigError, Context, Part
from medvlp.core.keys import parse_key
from medvlp.models.encoders._sites import TokenSite
from medvlp.models.heads.dino import DinoHead
from medvlp.models.patches.masked_image import MaskedImage
from medvlp.objectives import sinkhorn
from medvlp.objectives.ibot import Ibot

W, N, K = 4, 6, 5


def head(seed: int) -> DinoHead:
    torch.manual_seed(seed)
    return DinoHead(in_width=W, reads="tokens", hidden=8, bottleneck=3, prototypes=K, stage="call").double()


def tokens(rows: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, N, W, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def context(student, taught, hidden, *, own, teachers, owner=None) -> Context:
    owner = torch.arange(len(student)) if owner is None else torch.tensor(owner)
    parts = {
        "image.large/tokens": Part(student, owner),
        "image.large/hidden": Part(hidden, owner),
        "ema:image.large/tokens": Part(taught, owner),
    }
    state = SimpleNamespace(model=SimpleNamespace(heads={"ibot": teachers} if teachers else {}))
    batch = Batch.of({"text": ["a"] * (int(owner.max()) + 1)})
    made = {parse_key(key): part for key, part in parts.items()}
    return Context(parts=made, batch=batch, heads={"ibot": own}, states={"ema": state})


def test_it_is_the_mean_over_rows_of_the_mean_over_their_hidden_patches():
    hidden = torch.zeros(4, N, dtype=torch.bool)
    hidden[0, [1, 4, 5]] = hidden[2, 0] = hidden[3, [2, 3]] = True
    student, taught, own, other = tokens(4, 0), tokens(4, 1), head(0), head(1)
    term = Ibot()(context(student, taught, hidden, own=own, teachers=other, owner=[0, 0, 1, 2]))["hidden"]
    target = sinkhorn(other.scores(taught[hidden]), epsilon=0.04)
    log = (own.scores(student[hidden]) / 0.1).log_softmax(1)
    each = -(target * log).sum(1)
    want = (each[:3].mean() + each[3] + each[4:].mean()) / 3  # row 1 hides nothing and does not count
    assert term.count.item() == pytest.approx(3)
    torch.testing.assert_close(term.value(), want)


def test_what_is_not_hidden_and_the_teacher_have_no_gradient():
    hidden = torch.zeros(2, N, dtype=torch.bool)
    hidden[0, 1] = hidden[1, 2] = True
    student, taught = tokens(2, 0).requires_grad_(), tokens(2, 1).requires_grad_()
    other = head(1)
    Ibot()(context(student, taught, hidden, own=head(0), teachers=other))["hidden"].sum.backward()
    assert torch.equal(student.grad.abs().sum(2) > 0, hidden)
    assert taught.grad is None
    assert all(parameter.grad is None for parameter in other.parameters())


def test_a_step_that_hides_nothing_is_zero():
    student = tokens(2, 0).requires_grad_()
    hidden = torch.zeros(2, N, dtype=torch.bool)
    term = Ibot()(context(student, tokens(2, 1), hidden, own=head(0), teachers=head(1)))["hidden"]
    term.sum.backward()
    assert (term.sum.item(), term.count.item(), student.grad.abs().max().item()) == (0, 0, 0)


def test_a_teacher_without_the_head_is_refused():
    hidden = torch.ones(2, N, dtype=torch.bool)
    with pytest.raises(ConfigError, match=r"'ema' has no head 'ibot': .* needs a state 'ema' that follows the student"):
        Ibot()(context(tokens(2, 0), tokens(2, 1), hidden, own=head(0), teachers=None))


# the patch that hides -----------------------------------------------------------------------------------------------


def patch(rows: int, **options) -> MaskedImage:
    draws = lambda n: torch.rand(rows, n, generator=torch.Generator().manual_seed(0))  # noqa: E731
    site = TokenSite(torch.nn.Identity(), "after", prefix=1)
    return MaskedImage(site=site, uniform=draws, widths={"image": W}, **options)


def test_half_of_the_rows_hide_a_tenth_to_a_half_of_their_tokens():
    hidden = patch(2000)(torch.ones(2000, 1 + 40, W), torch.zeros(0)).parts["hidden"].sum(dim=1)
    some = hidden[hidden > 0]
    assert 0.46 < len(some) / 2000 < 0.54
    assert (some.min().item(), some.max().item()) == (4, 20)
    assert some.float().mean().item() == pytest.approx(12, abs=0.5)


def test_each_token_is_hidden_as_often_and_the_class_token_never():
    made = patch(2000, share=1.0, ratio=(0.25, 0.25))
    with torch.no_grad():
        made.token.fill_(7.0)
    out = made(torch.ones(2000, 1 + 8, W), torch.zeros(0))
    assert torch.equal(out.parts["hidden"].sum(dim=1), torch.full((2000,), 2))
    assert torch.equal((out.value[:, 1:] == 7).all(dim=2), out.parts["hidden"])
    assert (out.value[:, 0] == 1).all()
    assert (out.parts["hidden"].float().mean(dim=0) - 0.25).abs().max() < 0.03


def test_a_site_without_tokens_and_a_faulty_ratio_are_refused():
    from medvlp.core.protocols import Site

    with pytest.raises(ConfigError, match=r"'block.before\[0\]' is another site: write on: tokens.input"):
        MaskedImage(
            site=Site(torch.nn.Identity(), "after"), uniform=torch.rand, widths={"image": W}, on="block.before[0]"
        )
    with pytest.raises(ConfigError, match=r"0 < ratio <= 1, smallest first, not \[0.5, 0.1\]"):
        patch(2, ratio=(0.5, 0.1))
