"""BioViL-T: a comparison written out, a missing prior that nothing can change, and the order of the two pictures."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.detr.modeling_detr import DetrSinePositionEmbedding

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.core.sample import Batch, Column
from medvlp.models.build import build_model
from medvlp.models.encoders.biovil_t import BioVilT, sine_places
from medvlp.models.heads.projection import Projection
from medvlp.models.patches import apply_patches
from medvlp.zoo.biovil import _one_picture
from tests.models.words import TEXT, VISION, VIT, HashWords

PARTS = frozenset({"tokens", "pooled"})
W, HEADS = 8, 2


def tower(**options: Any) -> BioVilT:
    """A 2 x 2 grid of places; everything behind the tower has left its start."""
    torch.manual_seed(0)
    built = BioVilT(slice={**VISION, "image_size": 64}, **{"width": W, "layers": 2, "heads": HEADS, **options})
    draw = torch.Generator().manual_seed(1)
    for name, parameter in built.named_parameters():
        if not name.startswith("slice."):
            parameter.data = 0.5 * torch.randn(parameter.shape, generator=draw)
    return built.double().eval()


def pairs(rows: int = 3, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(rows, 2, 1, 64, 64, generator=draw, dtype=torch.float64)


def normed(x: Tensor, norm: Any) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * norm.weight + norm.bias


def by_hand(built: Any, current: Tensor, prior: Tensor) -> Tensor:
    """The difference (n, W) of one pair of tokens (n, W)."""
    place = sine_places((2, 2), W).double()
    x = torch.cat([current, prior])
    beside = torch.cat([place + built.order[0], place + built.order[1]])
    for layer in built.layers:
        seen = normed(x, layer.norm) + beside
        q, k, v = (seen @ layer.attention.qkv.weight.T).chunk(3, dim=1)
        some = []
        for h in range(HEADS):
            part = slice(h * W // HEADS, (h + 1) * W // HEADS)
            some.append((q[:, part] @ k[:, part].T / (W // HEADS) ** 0.5).softmax(1) @ v[:, part])
        x = x + torch.cat(some, 1) @ layer.attention.output.weight.T + layer.attention.output.bias
        x = x + layer.mlp(normed(x, layer.norm_mlp))
    return normed(x, built.norm)[: len(current)]


def tokens_of(built: BioVilT, images: Tensor) -> Tensor:
    return built.slice(images, parts=frozenset({"tokens"})).part("tokens") @ built.to_tokens.weight.T


def test_a_comparison_is_its_formula() -> None:
    built, values = tower(), pairs()
    rows = built(values, parts=PARTS)
    assert rows.grid == (2, 2)
    for row in range(3):
        current, prior = tokens_of(built, values[row])
        torch.testing.assert_close(rows.tokens[row], torch.cat([current, by_hand(built, current, prior)], dim=1))
    torch.testing.assert_close(rows.pooled, rows.tokens.mean(1))


def test_places_are_those_of_detr() -> None:
    theirs = DetrSinePositionEmbedding(num_position_features=6, normalize=True)
    expected = theirs((1, 6, 3, 5), "cpu", torch.float32, mask=torch.ones(1, 3, 5))[0].flatten(1).T
    torch.testing.assert_close(sine_places((3, 5), 12), expected)


def test_without_a_prior_the_learnt_vector_stands_and_nothing_else_counts() -> None:
    built, values = tower(), pairs()
    mask = torch.tensor([[True, True], [True, False], [True, False]])
    rows = built(values, parts=PARTS, mask=mask)
    assert torch.equal(rows.tokens[1:, :, W:], built.missing.expand(2, 4, W))
    values[1, 1], values[2, 1] = torch.nan, 7.0
    torch.testing.assert_close(built(values, parts=PARTS, mask=mask).tokens, rows.tokens, rtol=0, atol=0)
    one = built(values[1:, :1], parts=PARTS).tokens  # a batch in which nobody has one
    torch.testing.assert_close(one, rows.tokens[1:])
    torch.testing.assert_close(rows.tokens[0], built(values[:1], parts=PARTS).tokens[0])


def test_a_patch_draws_for_each_picture_by_its_sample() -> None:
    pair = {"name": "biovil_t", "slice": {**VIT, "image_size": 32}, "width": W, "layers": 1, "heads": HEADS}
    model = build_model({"name": "dual", "vision": pair, "text": TEXT, "embed_dim": 8}, tokenizer=HashWords())
    apply_patches(model, [{"name": "noise", "kind": "stack", "on": "tokens.input"}])
    images, mask = torch.rand(2, 2, 1, 32, 32), torch.tensor([[True, True], [True, False]])
    batch = Batch(("a", "b"), torch.arange(2), {"stack": Column(images, torch.arange(2), mask)})
    both = model(batch, plan := Plan.of(keys("stack/tokens")))["stack"].part("tokens")
    for sample in range(2):
        single = model(batch.take(sample, sample + 1), plan)["stack"].part("tokens")
        torch.testing.assert_close(single[0], both[sample])


def test_every_weight_is_in_the_graph_whether_anybody_has_a_prior_or_nobody() -> None:
    built = tower().train()
    for values in (pairs(), pairs()[:, :1]):
        built.zero_grad()
        built(values, parts=PARTS).pooled.square().sum().backward()
        assert [name for name, p in built.named_parameters() if p.grad is None] == []


def test_which_of_the_two_is_earlier_matters_and_the_prior_reaches_only_the_difference() -> None:
    built, values = tower(), pairs().requires_grad_()
    rows = built(values, parts=PARTS)
    (of_static,) = torch.autograd.grad(rows.tokens[:, :, :W].square().sum(), values, retain_graph=True)
    (of_difference,) = torch.autograd.grad(rows.tokens[:, :, W:].square().sum(), values)
    assert of_static[:, 1].abs().max() == 0
    assert of_difference[:, 1].abs().max() > 0
    turned = built(values.flip(1), parts=PARTS)
    assert not torch.allclose(turned.tokens[:, :, W:], rows.tokens[:, :, W:], atol=1e-3)


def test_without_a_prior_it_is_what_the_importer_makes_of_a_release() -> None:
    """Map to tokens, missing vector and first projection become one linear layer there."""
    built, values = tower(), pairs()[:, :1]
    first = torch.randn(5, 2 * W, 1, 1, dtype=torch.float64)
    held = {
        "encoder.backbone_to_vit.weight": built.to_tokens.weight[:, :, None, None],
        "encoder.missing_previous_emb": built.missing.view(1, W, 1, 1),
        "projector.model.0.weight": first,
    }
    folded = _one_picture(held)
    places = built.slice(values[:, 0], parts=frozenset({"tokens"})).part("tokens")
    expected = places @ folded["projector.model.0.weight"].T + folded["projector.model.0.bias"]
    torch.testing.assert_close(built(values, parts=PARTS).tokens @ first[:, :, 0, 0].T, expected)


def test_its_embedding_is_projected_place_by_place() -> None:
    built = tower()
    rows: Encoded = built(pairs(), parts=PARTS)
    head = Projection(in_width=2 * W, embed_dim=3, reads="tokens", hidden=5, mean=True).double()
    by_place = torch.stack(
        [head(Encoded(owner=rows.owner, tokens=rows.tokens[:, i : i + 1]), "raw")["raw"] for i in range(4)]
    )
    torch.testing.assert_close(head(rows, "raw")["raw"], by_place.mean(0))


def test_more_than_two_pictures_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"the current picture and, second, its prior, not \(1, 3, 1, 64, 64\)"):
        tower()(torch.zeros(1, 3, 1, 64, 64, dtype=torch.float64), parts=PARTS)
    with pytest.raises(ConfigError, match="3 attention heads do not divide the width 8"):
        tower(heads=3)
