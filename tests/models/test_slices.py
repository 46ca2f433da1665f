"""Slice pooling: what holds at the start, what padding, order and place may change, and what flows where."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.core.sample import Batch, Column
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, load_bundle, save_bundle
from medvlp.models.encoders.slices import SliceEncoder
from medvlp.models.heads.slice_pooler import SlicePooler, _along
from medvlp.models.patches import apply_patches
from medvlp.text.wordpiece import train_wordpiece
from tests.models.words import TEXT, VISION, VIT

POOLS = ("mean", "max", "middle", "cls", "attention", "gated")
W = 16
WORDS = train_wordpiece(["nodule in the right lung", "clear lungs"] * 3, vocab_size=64, max_length=16)


def rows_of(slices: torch.Tensor, mask: torch.Tensor | None = None, place: torch.Tensor | None = None) -> Encoded:
    depth = slices.shape[1]
    if place is None:
        place = torch.stack([torch.zeros(depth), torch.zeros(depth), 2.5 * torch.arange(depth)], -1)[None].repeat(
            len(slices), 1, 1
        )
    mask = torch.ones(slices.shape[:2], dtype=torch.bool) if mask is None else mask
    return Encoded(owner=torch.arange(len(slices)), tokens=slices, mask=mask, position=place)


def stirred(seed: int = 0, **options: object) -> SlicePooler:
    """A pooler that has left its start: every parameter is drawn."""
    generator = torch.Generator().manual_seed(seed)
    head = SlicePooler(width=W, heads=4, **options)
    for parameter in head.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return head.eval()


def pooled(head: SlicePooler, rows: Encoded) -> tuple[torch.Tensor, torch.Tensor]:
    given = head(rows, "volume")
    return given["volume"], given["volume_weights"]


@pytest.mark.parametrize("pool", ["mean", "cls", "attention", "gated"])
@pytest.mark.parametrize("options", [{}, {"layers": 3, "mlp_ratio": 2.0}, {"place": "learned"}])
def test_it_starts_as_the_masked_mean(pool: str, options: dict[str, object]) -> None:
    torch.manual_seed(0)
    slices = torch.randn(2, 5, W)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], dtype=torch.bool)
    value, weights = pooled(SlicePooler(width=W, heads=4, pool=pool, **options), rows_of(slices, mask))
    expected = torch.stack([slices[0].mean(0), slices[1, :2].mean(0)])
    torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    assert weights[1, 2:].abs().max() == 0


@pytest.mark.parametrize("pool", POOLS)
def test_one_slice_is_itself_at_the_start(pool: str) -> None:
    slices = torch.randn(3, 1, W)
    value, weights = pooled(SlicePooler(width=W, heads=4, pool=pool), rows_of(slices))
    torch.testing.assert_close(value, slices[:, 0], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(weights, torch.ones(3, 1))


@pytest.mark.parametrize("pool", POOLS)
@settings(deadline=None, max_examples=15)
@given(depth=st.integers(1, 6), padding=st.integers(1, 4), seed=st.integers(0, 99))
def test_padding_changes_nothing_whatever_it_holds(pool: str, depth: int, padding: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    head = stirred(seed, pool=pool, layers=2, mlp_ratio=1.0)
    slices = torch.randn(1, depth, W, generator=generator)
    place = torch.randn(1, depth, 3, generator=generator) * 50
    short = pooled(head, rows_of(slices, place=place))
    junk = 100 * torch.randn(1, padding, W, generator=generator)
    far = 9e3 * torch.ones(1, padding, 3)
    mask = torch.tensor([[True] * depth + [False] * padding])
    long = pooled(head, rows_of(torch.cat([slices, junk], 1), mask, torch.cat([place, far], 1)))
    torch.testing.assert_close(long[0], short[0], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(long[1][:, :depth], short[1], atol=2e-5, rtol=1e-4)
    assert long[1][:, depth:].abs().max() == 0


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("place", ["none", "sinusoidal", "learned"])
def test_slices_that_carry_their_places_may_come_in_any_order(pool: str, place: str) -> None:
    head = stirred(pool=pool, place=place)
    torch.manual_seed(1)
    rows = rows_of(torch.randn(1, 7, W))
    order = torch.randperm(7)
    tokens, position = (rows.part(name)[:, order] for name in ("tokens", "position"))
    mixed = Encoded(rows.owner, tokens=tokens, mask=rows.mask, position=position)
    value, weights = pooled(head, rows)
    other, other_weights = pooled(head, mixed)
    torch.testing.assert_close(other, value, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(other_weights, weights[:, order], atol=1e-5, rtol=1e-4)


def test_which_slice_lies_where_matters_with_places_and_not_without() -> None:
    torch.manual_seed(2)
    slices = torch.randn(1, 6, W)
    turned = slices.flip(1)
    apart = {}
    for place in ("none", "sinusoidal", "learned"):
        one, other = (pooled(stirred(place=place), rows_of(some))[0] for some in (slices, turned))
        apart[place] = (one - other).abs().max()
    assert apart["none"] < 1e-5
    assert min(apart["sinusoidal"], apart["learned"]) > 1e-2


@pytest.mark.parametrize("place", ["sinusoidal", "learned"])
def test_places_know_neither_spacing_nor_origin_nor_axis_nor_tower(place: str) -> None:
    head = stirred(place=place, layers=1, pool="attention")
    torch.manual_seed(3)
    slices = torch.randn(1, 5, W)
    z = torch.tensor([0.0, 3.0, 6.0, 9.0, 12.0])
    level = torch.zeros(5)
    axial = torch.stack([level, level, z], -1)[None]
    sagittal = torch.stack([7.5 * z - 300, level + 80, level], -1)[None]
    one, other = pooled(head, rows_of(slices, place=axial))[0], pooled(head, rows_of(slices, place=sagittal))[0]
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_half_of_the_slices_at_the_same_places_keep_their_places() -> None:
    """A thinner sampling moves no slice: its place is where it is, not its number."""
    head = SlicePooler(width=W, heads=4)
    z = torch.linspace(0, 40, 9)
    place = torch.stack([torch.zeros(9), torch.zeros(9), z], -1)[None]
    every = _along(place, torch.ones(1, 9, dtype=torch.bool))
    second = _along(place[:, ::2], torch.ones(1, 5, dtype=torch.bool))
    torch.testing.assert_close(every[:, ::2], second)
    assert head.place is not None


def test_slices_in_bfloat16_lie_where_they_lie_in_float32_however_far_the_origin_is() -> None:
    torch.manual_seed(4)
    level, z = torch.zeros(40), 1.25 * torch.arange(40)
    near, far = (torch.stack([level, level, z + start], -1)[None] for start in (0, -1230))
    slices = torch.randn(1, 40, W).bfloat16()
    middle = SlicePooler(width=W, layers=0, pool="middle")
    one, other = (pooled(middle, rows_of(values, place=far))[1] for values in (slices, slices.float()))
    assert one.argmax() == other.argmax() == pooled(middle, rows_of(slices.float(), place=near))[1].argmax()
    head = SlicePooler(width=W, heads=4)
    assert head.place is not None
    given: list[torch.Tensor] = []
    head.place.register_forward_pre_hook(lambda _, along: given.append(along[0]))
    for values, place in ((slices.float(), near), (slices.float(), far), (slices, far)):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=values.dtype == torch.bfloat16):
            pooled(head, rows_of(values, place=place))
    assert max((along - given[0]).abs().max() for along in given) < 1e-6


def test_a_layer_adds_what_attention_finds_where_places_are_as_loud_as_the_slices() -> None:
    """Y = I + MHSA(LN(I + a PE(P))) W by hand: waves from twice the volume's length to a hundredth of it, of mean 1."""
    head, slices = stirred(), 5 * torch.randn(6, W, generator=torch.Generator().manual_seed(6))
    angles = torch.arange(6)[:, None] / 5 * math.pi * 200 ** (torch.arange(W // 2) / (W // 2 - 1))
    waves = math.sqrt(2) * torch.cat([angles.sin(), angles.cos()], dim=1)
    torch.testing.assert_close(waves.square().mean(dim=1), torch.ones(6))
    norm, attention = head.layers[0].norm, head.layers[0].attention
    q, k, v = (
        attention.qkv(norm(slices + slices.square().mean().sqrt() * waves)).view(6, 3, 4, W // 4).permute(1, 2, 0, 3)
    )
    found = [(a @ b.T / math.sqrt(W // 4)).softmax(dim=1) @ c for a, b, c in zip(q, k, v, strict=True)]
    expected = (slices + attention.output(torch.cat(found, dim=1))).mean(dim=0)
    torch.testing.assert_close(pooled(head, rows_of(slices[None]))[0][0], expected, atol=1e-4, rtol=1e-4)


def test_a_learned_place_lies_between_its_two_neighbours_in_the_table() -> None:
    head = stirred(place="learned")
    assert head.place is not None
    table = head.place.table
    found = head.place(torch.tensor([[0.0, 2.25 / 63, 1.0]]))[0]
    torch.testing.assert_close(found, torch.stack([table[0], 0.75 * table[2] + 0.25 * table[3], table[63]]))


def test_the_mean_asks_by_heads_and_a_gate_says_how_much_of_what_counts() -> None:
    """The weights of both pools by loops over heads and slices; the second is Ilse et al. 2018, eq. 9."""
    slices = torch.randn(5, W, generator=torch.Generator().manual_seed(7))
    asked, gated = (stirred(pool=pool, layers=0) for pool in ("attention", "gated"))
    normed = asked.pool.norm(slices)
    query, key = asked.pool.query(normed.mean(dim=0)), asked.pool.key(normed)
    heads = [slice(4 * h, 4 * h + 4) for h in range(4)]
    shares = [torch.stack([k[h] @ query[h] / math.sqrt(4) for k in key]).softmax(dim=0) for h in heads]
    value, weights = pooled(asked, rows_of(slices[None]))
    torch.testing.assert_close(value[0], torch.cat([w @ slices[:, h] for w, h in zip(shares, heads, strict=True)]))
    torch.testing.assert_close(weights[0], sum(shares) / 4)
    pool, scores = gated.pool, []
    for h in pool.norm(slices):
        what, gate = (each.weight @ h + each.bias for each in (pool.what, pool.gate))
        scores.append(pool.score.weight[0] @ (what.tanh() / (1 + (-gate).exp())))
    share = torch.stack(scores).softmax(dim=0)
    value, weights = pooled(gated, rows_of(slices[None]))
    torch.testing.assert_close(value[0], share @ slices)
    torch.testing.assert_close(weights[0], share)


def test_max_and_middle_are_what_they_say() -> None:
    slices = torch.tensor([[[1.0, 5.0], [2.0, 0.0], [9.0, -1.0]]]).repeat(1, 1, W // 2)
    value, weights = pooled(SlicePooler(width=W, layers=0, heads=4, pool="max"), rows_of(slices))
    assert value[0, :2].tolist() == [9.0, 5.0]
    assert weights.tolist() == [[0.5, 0.0, 0.5]]
    place = torch.tensor([[[0.0, 0, 0], [0, 0, 48], [0, 0, 100]]])
    value, weights = pooled(SlicePooler(width=W, layers=0, heads=4, pool="middle"), rows_of(slices, place=place))
    assert (value[0, :2].tolist(), weights.tolist()) == ([2.0, 0.0], [[0.0, 1.0, 0.0]])


def test_of_two_slices_at_the_middle_rounding_chooses_none() -> None:
    """Four slices have no middle one: the first of the two is taken, whatever the last digit of their places."""
    slices = torch.arange(4.0)[None, :, None].expand(1, 4, W)
    head = SlicePooler(width=W, layers=0, pool="middle")
    for seed in range(20):
        noise = torch.rand(1, 4, 3, generator=torch.Generator().manual_seed(seed)) * 6e-5
        place = torch.tensor([0.0, 0.0, 3.27]) * torch.arange(4.0)[:, None] + torch.tensor([0.0, 0.0, -310.03]) + noise
        assert pooled(head, rows_of(slices, place=place))[1].tolist() == [[0.0, 1.0, 0.0, 0.0]]


@pytest.mark.parametrize("pool", POOLS)
def test_half_precision_stays_finite_and_close(pool: str) -> None:
    torch.manual_seed(4)
    head = stirred(pool=pool)
    rows = rows_of(torch.randn(2, 40, W))
    exact = pooled(head, rows)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, weights = pooled(head, rows)
    assert torch.isfinite(value).all()
    torch.testing.assert_close(value.float(), exact, atol=0.15, rtol=0.15)
    torch.testing.assert_close(weights.float().sum(1), torch.ones(2), atol=0.02, rtol=0.02)


def test_a_token_without_layers_is_refused() -> None:
    with pytest.raises(ConfigError, match="'cls' needs a layer for its token"):
        SlicePooler(width=W, pool="cls", layers=0)
    with pytest.raises(ConfigError, match="5 attention heads do not divide the width 16"):
        SlicePooler(width=W, heads=5)


# the tower ------------------------------------------------------------------------------------------------------------


MODEL = {
    "name": "dual",
    "vision": {"name": "slices", "slice": VISION},
    "text": TEXT,
    "embed_dim": 8,
    "heads": {
        "stack/volume": {"name": "slice_pooler", "heads": 2, "pool": "attention"},
        "stack/raw": {"name": "projection", "reads": "volume"},
    },
}


def stacks() -> Batch:
    torch.manual_seed(5)
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]], dtype=torch.bool)
    values = torch.rand(2, 3, 1, 32, 32) * mask[..., None, None, None]
    place = torch.arange(3.0)[None, :, None].repeat(2, 1, 3)
    return Batch(("a", "b"), torch.arange(2), {"stack": Column(values, torch.arange(2), mask, place)})


def test_slices_are_the_tower_on_each_real_slice() -> None:
    tower = SliceEncoder(slice=VISION).eval()
    column = stacks()["stack"]
    assert isinstance(column.values, torch.Tensor)
    rows = tower(column.values, parts=frozenset({"tokens"}), mask=column.mask, position=column.position)
    alone = tower.slice(column.values[0], parts=frozenset({"pooled"})).pooled
    assert alone is not None
    tokens = rows.part("tokens")
    torch.testing.assert_close(tokens[0], alone, atol=1e-5, rtol=1e-5)
    assert tokens[1, 1:].abs().max() == 0


def test_features_computed_once_go_through_unchanged() -> None:
    model = build_model(MODEL, tokenizer=WORDS).eval()
    plan = Plan.of(keys("stack/tokens", "stack/embedding"))
    batch = stacks()
    with torch.no_grad():
        first = model.finish(model(batch, plan), plan)["stack"]
    column = batch["stack"]
    features = first.part("tokens")[..., None, None]
    again = Batch(batch.ids, batch.positions, {"stack": Column(features, column.owner, column.mask, column.position)})
    with torch.no_grad():
        second = model.finish(model(again, plan), plan)["stack"]
    torch.testing.assert_close(second.part("embedding"), first.part("embedding"))


def test_a_frozen_slice_tower_leaves_gradient_in_the_adapter_alone() -> None:
    model = build_model(MODEL, tokenizer=WORDS)
    tower = model.towers["stack"]
    tower.requires_grad_(False)
    plan = Plan.of(keys("stack/embedding"))
    out = model.finish(model(stacks(), plan), plan)["stack"].part("embedding")
    (out * torch.arange(8.0)).sum().backward()
    with_gradient = {name.rpartition(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert not any(name.startswith("towers.stack") for name in with_gradient)
    assert any(name.startswith("heads.stack/volume") for name in with_gradient)


def test_a_patch_in_a_frozen_slice_tower_learns() -> None:
    model = build_model({**MODEL, "vision": {"name": "slices", "slice": {**VIT, "image_size": 32}}}, tokenizer=WORDS)
    apply_patches(model, [{"name": "lora", "kind": "stack", "on": "linear[*qkv*]", "rank": 2}])
    model.towers["stack"].requires_grad_(False)
    plan = Plan.of(keys("stack/embedding"))
    out = model.finish(model(stacks(), plan), plan)["stack"].part("embedding")
    (out * torch.arange(8.0)).sum().backward()
    assert all(patch.up.grad is not None and patch.up.grad.any() for patch in model.patches.values())


DROPPED = {"name": "token_dropout", "on": "tokens.input"}


@pytest.mark.parametrize(
    ("patch", "tower"),
    [
        (DROPPED, {"name": "slices", "chunk": 2}),
        ({**DROPPED, "mode": "zero"}, {"name": "slices", "chunk": 2}),
        ({"name": "noise", "on": "tokens.input"}, {"name": "slices", "chunk": 3}),
        ({"name": "noise", "on": "pooled.output"}, {"name": "x_clip", "chunk": 3}),
    ],
)
@pytest.mark.parametrize("trained", [True, False])
def test_a_patch_draws_for_each_slice_by_its_sample(
    patch: dict[str, object], tower: dict[str, object], trained: bool
) -> None:
    model = build_model({**MODEL, "vision": {**tower, "slice": {**VIT, "image_size": 32}}}, tokenizer=WORDS)
    apply_patches(model, [{**patch, "kind": "stack"}])
    model.towers["stack"].requires_grad_(trained)
    batch, plan = stacks(), Plan.of(keys("stack/tokens"))
    batch["stack"].values[0, 1] = batch["stack"].values[0, 0]
    both = model(batch, plan)["stack"].part("tokens")
    assert not torch.allclose(both[0, 0], both[0, 1])
    for sample in range(2):
        single = model(batch.take(sample, sample + 1), plan)["stack"].part("tokens")
        torch.testing.assert_close(single[0], both[sample])


def looked_ahead_and_trained(
    tower: torch.nn.Module, inner: torch.nn.Module, values: torch.Tensor
) -> list[torch.Tensor]:
    """Tokens of a pass without and of one with gradient, with the same draws, each followed by calls of `inner`."""
    calls, found = [], []
    inner.register_forward_hook(lambda *_: calls.append(1))
    for gradient in (False, True):
        torch.manual_seed(3)
        before = len(calls)
        with torch.set_grad_enabled(gradient):
            tokens = tower(values, parts=frozenset({"tokens"})).part("tokens")
        found += [tokens.detach(), torch.tensor(len(calls) - before)]
    return found


@pytest.mark.parametrize("slices", [{**VISION, "norm": "keep"}, {**VIT, "image_size": 32, "drop_path": 0.5}])
def test_a_pass_that_looks_ahead_is_the_one_that_trains(slices: dict[str, object]) -> None:
    tower, values = SliceEncoder(slice=slices, chunk=4).train(), torch.rand(2, 5, 1, 32, 32)
    ahead, calls, trained, others = looked_ahead_and_trained(tower, tower.slice, values)
    assert torch.equal(ahead, trained)
    assert (int(calls), int(others)) == (1, 1)
    other = looked_ahead_and_trained(tower.eval(), tower.slice, values)
    assert not torch.allclose(other[2], trained)  # the tower does something in training that it does not afterwards


def test_slices_that_are_not_trained_go_through_a_few_at_a_time() -> None:
    tower, values = SliceEncoder(slice=VISION, chunk=4), torch.rand(2, 5, 1, 32, 32)
    with torch.no_grad():
        assert int(looked_ahead_and_trained(tower.eval(), tower.slice, values)[1]) == 3
    tower = SliceEncoder(slice=VISION, chunk=4).requires_grad_(False).train()  # frozen, whatever its mode is
    ahead, calls, trained, others = looked_ahead_and_trained(tower, tower.slice, values)
    assert torch.equal(ahead, trained)
    assert (int(calls), int(others)) == (3, 3)


def test_weights_of_slices_are_a_part_that_a_plan_may_ask_for_and_a_bundle_keeps(tmp_path) -> None:
    model = build_model(MODEL, tokenizer=WORDS).eval()
    plan = Plan.of(keys("stack/volume_weights", "stack/embedding"))
    with torch.no_grad():
        before = model.finish(model(stacks(), plan), plan)["stack"]
    assert before.part("volume_weights").shape == (2, 3)
    save_bundle(tmp_path / "bundle", Bundle(model, WORDS, preprocessing=[]))
    loaded = load_bundle(tmp_path / "bundle").model.eval()
    with torch.no_grad():
        after = loaded.finish(loaded(stacks(), plan), plan)["stack"]
    torch.testing.assert_close(after.part("embedding"), before.part("embedding"))
    with pytest.raises(ConfigError, match="'stack/volume_weight' cannot be computed"):
        model.check(Plan.of(keys("stack/volume_weight")))


def test_projecting_before_pooling_is_projecting_after_it_at_the_start() -> None:
    """Level: a mean commutes with a linear map, so both levels begin at the same place."""
    after = build_model(MODEL, tokenizer=WORDS).eval()
    heads = {
        "stack/slices": {"name": "projection", "reads": "tokens"},
        "stack/raw": {"name": "slice_pooler", "reads": "slices", "heads": 2},
    }
    before = build_model({**MODEL, "heads": heads}, tokenizer=WORDS).eval()
    before.heads["stack/slices"].load_state_dict(after.heads["stack/raw"].state_dict())
    before.towers["stack"].load_state_dict(after.towers["stack"].state_dict())
    plan = Plan.of(keys("stack/raw"))
    with torch.no_grad():
        one, other = (m.finish(m(stacks(), plan), plan)["stack"].part("raw") for m in (before, after))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
