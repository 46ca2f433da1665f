from __future__ import annotations

from typing import Any

import pytest
import torch

from medvlp.core import collectives
from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.models.heads._batch_norm import RowBatchNorm
from medvlp.models.heads.generator import Generator
from medvlp.models.heads.linear import LinearHead
from medvlp.models.heads.pooler import AttentionPooler
from medvlp.models.heads.projection import Projection


def rows(**parts: Any) -> Encoded:
    count = len(next(iter(parts.values())))
    return Encoded(owner=torch.arange(count), **parts)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_projection_with_hidden_layers_is_linear_norm_relu_linear() -> None:
    head = Projection(in_width=4, embed_dim=2, hidden=6, layers=3, norm="layer").double()
    values = random(5, 4)
    by_hand = values
    for linear, norm in zip(head.hidden, head.norms, strict=True):
        by_hand = norm(linear(by_hand)).clamp(min=0)
    torch.testing.assert_close(head(rows(pooled=values), "z")["z"], by_hand @ head.output.weight.T)
    assert [tuple(layer.weight.shape) for layer in head.hidden] == [(6, 4), (6, 6)]


def test_the_hidden_layers_of_a_projection_norm_with_an_epsilon_and_have_a_bias_or_none() -> None:
    """As of LayerNorm's definition, (x - mean) / sqrt(variance + epsilon); without any bias 0 stays 0."""
    head = Projection(in_width=4, embed_dim=2, hidden=6, norm="layer", norm_eps=0.3, hidden_bias=False).double()
    values = random(5, 4)
    hidden = values @ head.hidden[0].weight.T
    normed = (hidden - hidden.mean(1, keepdim=True)) / (hidden.var(1, keepdim=True, correction=0) + 0.3).sqrt()
    torch.testing.assert_close(head(rows(pooled=values), "z")["z"], normed.clamp(min=0) @ head.output.weight.T)
    assert not head(rows(pooled=torch.zeros(3, 4).double()), "z")["z"].any()


def test_projection_of_tokens_is_that_of_each_token() -> None:
    head = Projection(in_width=4, embed_dim=2, reads="tokens").double()
    tokens = random(3, 5, 4)
    torch.testing.assert_close(head(rows(tokens=tokens), "z")["z"][1, 2], head.output(tokens[1, 2]))


def test_projections_that_cannot_be_exact_are_refused() -> None:
    with pytest.raises(ConfigError, match="norm 'batch' sees one chunk only at stage 'tower': set stage to batch"):
        Projection(in_width=4, embed_dim=2, hidden=3, norm="batch")
    with pytest.raises(ConfigError, match="norm 'layer' has no hidden layer to normalise: set hidden"):
        Projection(in_width=4, embed_dim=2, norm="layer")
    with pytest.raises(ConfigError, match="that standardises sees one chunk only at stage 'tower': set stage to batch"):
        Projection(in_width=4, embed_dim=2, standardise=True)


def test_a_standardised_projection_does_not_ask_how_large_its_columns_are() -> None:
    head = Projection(in_width=4, embed_dim=2, standardise=True, stage="batch").double()
    values = random(9, 4)
    size = torch.tensor([1.0, 100.0, 1e4, 1e-2], dtype=torch.float64)
    plain, sized = (head(rows(pooled=each), "z")["z"] for each in (values, 3 + size * values))
    torch.testing.assert_close(plain, sized, atol=0.1, rtol=0)  # the eps of BatchNorm counts for the small one
    expected = torch.nn.BatchNorm1d(4).double()(values) @ head.output.weight.T
    torch.testing.assert_close(plain, expected)


def test_row_batch_norm_equals_torchs_in_value_gradient_and_running_statistics() -> None:
    own, torchs = RowBatchNorm(3).double(), torch.nn.BatchNorm1d(3).double()
    values = random(7, 3).requires_grad_()
    other = values.detach().clone().requires_grad_()
    for _ in range(2):
        first, second = own(values, torch.arange(7)), torchs(other)
    torch.testing.assert_close(first, second)
    weight = random(7, 3, seed=1)
    (first * weight).sum().backward()
    (second * weight).sum().backward()
    torch.testing.assert_close(values.grad, other.grad)
    torch.testing.assert_close(own.running_mean, torchs.running_mean)
    torch.testing.assert_close(own.running_var, torchs.running_var)
    torch.testing.assert_close(own.eval()(values, torch.arange(7)), torchs.eval()(other))


def test_rows_without_a_sample_give_no_statistics() -> None:
    norm, values = RowBatchNorm(3).double(), random(5, 3)
    with_blank = torch.cat([values, 1e6 * torch.ones(1, 3, dtype=torch.float64)])
    owner = torch.tensor([0, 1, 2, 3, 4, -1])
    torch.testing.assert_close(norm(with_blank, owner)[:5], RowBatchNorm(3).double()(values, torch.arange(5)))
    before = norm.running_mean.clone()
    bank = norm(values, torch.full((5,), -1))
    assert torch.equal(norm.running_mean, before)
    torch.testing.assert_close(bank, (values - norm.running_mean) / (norm.running_var + norm.eps).sqrt())


def test_padding_gives_no_statistics_however_long_it_is() -> None:
    """Tokens are padded to the longest of a chunk or a process: what is learnt of real ones must not hang on that."""
    mask = torch.tensor([[True, True, True], [True, False, False]])
    tokens = random(2, 3, 4).masked_fill(~mask[:, :, None], 0.0)
    options: dict[str, Any] = {"reads": "tokens", "hidden": 5, "norm": "batch", "standardise": True, "stage": "batch"}
    found = []
    for more in (0, 4):
        torch.manual_seed(0)
        head = Projection(in_width=4, embed_dim=2, **options).double()
        longer, there = torch.nn.functional.pad(tokens, (0, 0, 0, more)), torch.nn.functional.pad(mask, (0, more))
        found.append((head(rows(tokens=longer, mask=there), "z")["z"][there], head.state_dict()))
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[0][1]["standard.running_mean"], 0.1 * tokens[mask].mean(dim=0))
    assert head.reads == ("tokens", "mask")


def normalise_on_ranks(values: torch.Tensor, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    world, rank = collectives.world_size(), collectives.rank()
    norm = RowBatchNorm(values.shape[1]).double()
    mine = values.tensor_split(world)[rank].clone().requires_grad_()
    out = norm(mine, torch.arange(len(mine)))
    (out * weight.tensor_split(world)[rank]).sum().backward()
    return {"out": out.detach(), "grad": mine.grad, "running": norm.running_var}


@pytest.mark.pool
def test_row_batch_norm_of_two_processes_is_that_of_one(pool: Any) -> None:
    values, weight = random(7, 3), random(7, 3, seed=1)
    alone = pool.run(1, normalise_on_ranks, values, weight)[0]
    ranks = pool.run(2, normalise_on_ranks, values, weight)
    for name in ("out", "grad"):
        torch.testing.assert_close(torch.cat([rank[name] for rank in ranks]), alone[name])
    assert torch.equal(ranks[0]["running"], ranks[1]["running"])


def test_a_linear_head_starts_undecided() -> None:
    logits = LinearHead(in_width=4, classes=3).double()(rows(pooled=random(2, 4)), "findings")["findings"]
    assert torch.equal(logits, torch.zeros(2, 3, dtype=torch.float64))


def test_a_pooler_reads_real_tokens_in_any_order() -> None:
    head = AttentionPooler(token_width=8, queries=3, heads=2).double()
    tokens, mask = random(2, 5, 8), torch.tensor([[True, True, True, False, False], [True] * 5])
    pooled = head(rows(tokens=tokens, mask=mask), "z")["z"]
    assert pooled.shape == (2, 3, 8)
    changed = tokens.clone()
    changed[0, 3:] = 99.0
    torch.testing.assert_close(head(rows(tokens=changed, mask=mask), "z")["z"], pooled)
    order = torch.tensor([2, 0, 1, 4, 3])
    torch.testing.assert_close(head(rows(tokens=tokens[:, order], mask=mask[:, order]), "z")["z"], pooled)


def test_a_pooler_of_one_query_gives_one_vector() -> None:
    head = AttentionPooler(token_width=8, heads=2, width=6).double()
    mask = torch.ones(2, 5, dtype=torch.bool)
    assert head(rows(tokens=random(2, 5, 8), mask=mask), "z")["z"].shape == (2, 6)
    assert head.width == 6


def generator() -> Generator:
    return Generator(memory_width=6, vocab_size=11, width=8, layers=2, heads=2, max_length=9).double()


def test_a_generator_never_sees_later_words() -> None:
    head, tokens = generator(), random(1, 4, 6)
    ids = torch.tensor([[1, 2, 3, 4, 5]])
    logits = head.forward_logits(tokens, None, ids)
    later = ids.clone()
    later[0, 3:] = 9
    torch.testing.assert_close(head.forward_logits(tokens, None, later)[:, :3], logits[:, :3])
    assert not torch.allclose(head.forward_logits(tokens, None, later)[:, 3], logits[:, 3])


def test_a_generator_reads_real_image_tokens_only() -> None:
    head, tokens = generator(), random(1, 4, 6)
    mask, ids = torch.tensor([[True, True, False, False]]), torch.tensor([[1, 2, 3]])
    logits = head.forward_logits(tokens, mask, ids)
    torch.testing.assert_close(logits, head.forward_logits(tokens[:, :2], None, ids))
    assert not torch.allclose(logits, head.forward_logits(2 - tokens, mask, ids))


def test_a_generator_refuses_a_sequence_longer_than_its_positions() -> None:
    with pytest.raises(ConfigError, match="writes at most 9 words and was given 10: raise its max_length"):
        generator().forward_logits(random(1, 4, 6), None, torch.zeros(1, 10, dtype=torch.int64))
