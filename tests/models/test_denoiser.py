from __future__ import annotations

import pytest
import torch

from medvlp.core import ConfigError
from medvlp.models.heads.denoiser import Denoiser


def denoiser(**options) -> Denoiser:
    torch.manual_seed(0)
    head = Denoiser(**{"in_width": 6, "token_width": 4, "size": 8, "channels": [8, 8], **options})
    with torch.no_grad():
        for parameter in head.parameters():  # what starts at zero would let nothing through
            parameter.add_(0.1 * torch.randn_like(parameter))
    return head.eval()


def drawn(head: Denoiser, vector: torch.Tensor, tokens: torch.Tensor | None = None, step: int = 500) -> torch.Tensor:
    noisy = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return head.denoise(noisy, torch.full((2,), step), vector, tokens)


def test_its_pictures_are_gray_small_and_from_black_at_minus_one_to_white_at_one():
    half = torch.zeros(1, 3, 32, 32)
    half[..., 16:] = 1
    found = denoiser().pictures(half)
    assert found.shape == (1, 1, 8, 8)
    torch.testing.assert_close(found[0, 0, :, [0, 7]], torch.tensor([-1.0, 1.0]).expand(8, 2))
    coloured = torch.tensor([0.0, 0.25, 0.5]).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    torch.testing.assert_close(denoiser().pictures(coloured), torch.full((1, 1, 8, 8), -0.5))


@pytest.mark.parametrize("options", [{}, {"adapters": True}, {"vector": False}, {"vector": False, "slots": 1}])
def test_the_guess_depends_on_the_vector_of_its_own_row_and_on_the_time(options):
    head, vector = denoiser(**options), torch.eye(6)[:2]
    found, other = drawn(head, vector), drawn(head, torch.stack([vector[0], torch.eye(6)[3]]))
    torch.testing.assert_close(found[0], other[0])
    assert (found[1] - other[1]).abs().max() > 1e-4
    assert (found - drawn(head, vector, step=10)).abs().max() > 1e-4


def test_a_level_of_eight_channels_still_hears_the_time_and_the_vector():
    """With norms over single channels whatever they add would be taken out: gradients of rounding alone."""
    head = denoiser(channels=[8])
    drawn(head, torch.eye(6)[:2]).square().sum().backward()
    for name in ("net.class_embedding.weight", "net.time_embed.0.weight"):
        assert head.get_parameter(name).grad.abs().max() > 1e-4


def test_local_tokens_are_a_set_and_a_repeated_one_weighs_twice():
    head, vector = denoiser(local=True), torch.eye(6)[:2]
    tokens = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(2))
    found = drawn(head, vector, tokens)
    torch.testing.assert_close(found, drawn(head, vector, tokens.flip(1)), rtol=1e-4, atol=1e-5)
    assert (found - drawn(head, vector, tokens[:, [0, 0, 1, 2]])).abs().max() > 1e-5


def test_a_unit_embedding_is_made_as_long_as_numbers_of_size_one_and_another_vector_is_not():
    assert (denoiser(in_width=16).gain, denoiser(in_width=16, reads="pooled").gain) == (4.0, 1.0)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=r"The channels of a denoiser are \[8, 12\]: write multiples of 8"):
        denoiser(channels=[8, 12])
    with pytest.raises(ConfigError, match="A denoiser of 3 levels halves its picture 2 times, and size 10 cannot be"):
        denoiser(channels=[8, 8, 8], size=10)


def test_attention_without_a_table_of_weights_is_that_with_one():
    head = denoiser(channels=[8, 16], local=True).double()
    attends = [block for block in head.modules() if hasattr(block, "use_flash_attention")]
    assert [block.use_flash_attention for block in attends] == [True] * 8
    draw = torch.Generator().manual_seed(1)
    noisy, vector, tokens = (torch.randn(s, generator=draw).double() for s in ((2, 1, 8, 8), (2, 6), (2, 5, 4)))
    given = [vector.requires_grad_(), tokens.requires_grad_()]
    found = []
    for fast in (True, False):
        for block in attends:
            block.use_flash_attention = fast
        guess = head.denoise(noisy, torch.tensor([0, 999]), *given)
        found.append([guess, *torch.autograd.grad((guess * noisy).sum(), [*given, *head.parameters()])])
    assert found[0][0].abs().max() > 0.1
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
