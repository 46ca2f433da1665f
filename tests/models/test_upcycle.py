"""Experts compute what the MLP did, mix what the router chooses, come from stages, and their router can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from medvlp.core import ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.core.registry import build
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, load_bundle, save_bundle
from medvlp.models.surgery import operate
from medvlp.models.surgery.upcycle import Experts
from medvlp.objectives.router_balance import RouterBalance
from medvlp.text import train_wordpiece
from tests.models.words import DUAL, VIT, HashWords, dual, pairs

PLAN = Plan.of(keys("image/embedding", "text/embedding"))
SINGLE: dict[str, Any] = {"name": "single", "image_size": 32, "patch_size": 8, "width": 16, "layers": 2}
SINGLE |= {"attention_heads": 2, "embed_dim": 8}
MIXED: dict[str, Any] = {"name": "upcycle", "kind": "text", "experts": 4, "top": 2}


def embeddings(model: Any, batch: Any) -> dict[str, torch.Tensor]:
    model.eval()
    with torch.no_grad():
        return {view: rows.part("embedding") for view, rows in model(batch, PLAN).items()}


@pytest.mark.parametrize(
    ("spec", "kind"),
    [({**DUAL, "vision": VIT}, "image"), (DUAL, "text"), (SINGLE, "image")],
    ids=["timm", "transformer", "shared trunk"],
)
def test_identical_experts_compute_what_the_mlp_did(spec: dict[str, Any], kind: str) -> None:
    model = build_model(spec, tokenizer=HashWords(), seed=1)
    batch = pairs(size=64 if kind == "image" and spec is not SINGLE else 32)
    before, old = embeddings(model, batch), {id(p) for p in model.parameters()}
    operate(model, [{**MIXED, "kind": kind}])
    after = embeddings(model, batch)
    assert max(float((rows - before[view]).abs().max()) for view, rows in after.items()) < 5e-7
    assert old <= {id(p) for p in model.parameters()}  # the first expert is the MLP, moments and all


def test_a_token_passes_the_experts_that_the_router_weighs_most() -> None:
    """Against a loop over tokens."""
    model = dual()
    operate(model, [MIXED])
    experts = next(m for m in model.modules() if isinstance(m, Experts))
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in experts.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw))
        tokens = torch.randn(3, 5, 16, generator=draw)
        expected = torch.zeros_like(tokens)
        for r in range(3):
            for n in range(5):
                shares = (experts.router.weight @ tokens[r, n]).softmax(dim=0)  # type: ignore[union-attr]
                best = shares.argsort(descending=True)[:2].tolist()
                for e in best:
                    expected[r, n] += shares[e] / shares[best].sum() * experts.experts[e](tokens[r, n])
        torch.testing.assert_close(experts(tokens), expected, rtol=1e-4, atol=1e-5)
        traced = torch.jit.trace(experts, tokens, check_trace=False)
        torch.testing.assert_close(traced(tokens), expected, rtol=1e-4, atol=1e-5)


def test_experts_come_from_stages_and_only_the_newest_works_until_they_are_merged() -> None:
    model, batch = dual(), pairs()
    before = embeddings(model, batch)["text"]
    operate(model, [{**MIXED, "experts": 2, "top": None}])
    blocks = [m for m in model.modules() if isinstance(m, Experts)]
    assert torch.equal(embeddings(model, batch)["text"], before)
    with torch.no_grad():
        blocks[0].experts[0][0].weight.add_(1.0)  # type: ignore[index]
    assert torch.equal(embeddings(model, batch)["text"], before)
    with torch.no_grad():
        blocks[0].experts[1][0].weight.mul_(0.5)  # type: ignore[index]
    staged = embeddings(model, batch)["text"]
    assert not torch.allclose(staged, before, atol=1e-4)
    operate(model, [{**MIXED, "experts": 3, "top": None}])
    assert torch.equal(embeddings(model, batch)["text"], staged)  # the next stage begins where the last one ended
    trained = {id(p) for block in blocks for p in block.experts.parameters()}
    operate(model, [{**MIXED, "experts": 3}])
    merged = [m for m in model.modules() if isinstance(m, Experts)]
    assert trained <= {id(p) for block in merged for p in block.experts.parameters()}
    assert [len(block.experts) for block in merged] == [3, 3]


@pytest.mark.parametrize("kind", ["text", "image"])
def test_router_statistics_are_parts_of_the_view(kind: str) -> None:
    model = dual({**DUAL, "vision": VIT})
    operate(model, [{**MIXED, "kind": kind}])
    plan = Plan.of(keys(f"{kind}/router", f"{kind}/routed", f"{kind}/mask"))
    rows = model(pairs(["no effusion", "left", "large heart seen"] * 12, size=64), plan)[kind]  # more than a group
    router, routed, mask = (rows.part(name) for name in ("router", "routed", "mask"))
    classes = 0 if kind == "text" else 1
    assert router.shape == routed.shape == (36, mask.shape[1] + classes, 4, 2)
    torch.testing.assert_close(router.sum(dim=2), torch.ones(36, mask.shape[1] + classes, 2))
    assert bool(((routed > 0).sum(dim=2) == 2).all())
    with pytest.raises(ConfigError, match=r"image/router' cannot be computed" if kind == "text" else "text/router"):
        model.check(Plan.of(keys("image/router" if kind == "text" else "text/router")))


def test_a_bundle_has_its_experts_back(tmp_path: Path) -> None:
    words = train_wordpiece(["no acute findings", "left effusion", "large heart"], vocab_size=64, max_length=12)
    model = build_model(DUAL, tokenizer=words, seed=1)
    operate(model, [{**MIXED, "experts": 2, "top": None}])
    operate(model, [{**MIXED, "experts": 2, "top": 1}])
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)), alpha=0.1)
    batch = pairs(["no acute findings", "left", "no heart"])
    before = embeddings(model, batch)
    save_bundle(tmp_path / "bundle", Bundle(model=model, tokenizer=words, preprocessing=[]))
    back = load_bundle(tmp_path / "bundle").model
    assert back.spec == model.spec  # type: ignore[union-attr]
    assert all(torch.equal(rows, before[view]) for view, rows in embeddings(back, batch).items())
    assert back(batch, Plan.of(keys("text/router")))["text"].part("router").shape[2:] == (2, 2)


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="top of surgery 'upcycle' is 3, and there are 2 experts"):
        build("models/surgery", {**MIXED, "experts": 2, "top": 3}, where="x")
    with pytest.raises(ConfigError, match="needs blocks with an MLP in one module, which the image tower has not"):
        operate(dual(), [{**MIXED, "kind": "image"}])
    model = dual()
    operate(model, [MIXED])
    with pytest.raises(ConfigError, match="upcycle makes 3 experts, and there are 4"):
        operate(model, [{**MIXED, "experts": 3}])
    with pytest.raises(ConfigError, match=r"no linear layer mlp.2: do this surgery before upcycle"):
        operate(model, [{"name": "grow_depth", "kind": "text", "after": [0]}])


def test_balance_is_the_number_of_experts_of_a_token_where_all_are_used_alike() -> None:
    from medvlp.core import Context

    def balance(logits: torch.Tensor, mask: torch.Tensor) -> float:
        shares = logits.softmax(dim=2)
        weights, chosen = shares.topk(2, dim=2)
        routed = torch.zeros_like(shares).scatter(2, chosen, weights / weights.sum(dim=2, keepdim=True))
        rows = {"text/router": shares, "text/routed": routed, "text/mask": mask}
        return RouterBalance()(Context.of(rows, {"text": list("abcd")}))["balance"].value().item()

    real = torch.ones(4, 3, dtype=torch.bool)
    even = torch.zeros(4, 3, 4, 1)
    for place in range(12):
        even[place // 3, place % 3, [place % 4, (place + 1) % 4]] = 1e-4
    assert abs(balance(even, real) - 2.0) < 1e-3
    collapsed = torch.zeros(4, 3, 4, 1)
    collapsed[:, :, 0], collapsed[:, :, 1] = 6.0, 5.0
    assert balance(collapsed, real) > 3.9
    padded = torch.cat([even, collapsed[:, :1]], dim=1)  # what stands behind the words does not count
    assert abs(balance(padded, torch.cat([real, ~real[:, :1]], dim=1)) - 2.0) < 1e-3


def test_balance_is_the_mean_over_layers_and_class_tokens_in_front_are_real() -> None:
    """By loops over layers, experts and tokens: one class token before three words, of which some are padding."""
    from medvlp.core import Context

    logits = torch.randn(2, 4, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shares, mask = logits.softmax(dim=2), torch.tensor([[True, True, False], [True, False, False]])
    routed = torch.zeros_like(shares).scatter(2, shares.topk(2, dim=2).indices, 0.5)
    tokens, expected = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)], 0.0
    for layer in range(3):
        for expert in range(4):
            used = sum(float(routed[row, token, expert, layer] > 0) for row, token in tokens) / 5
            given = sum(float(shares[row, token, expert, layer]) for row, token in tokens) / 5
            expected += 4 * used * given / 3
    rows = {"image/router": shares, "image/routed": routed, "image/mask": mask}
    found = RouterBalance(view="image")(Context.of(rows, {"text": list("ab")}))["balance"].value().item()
    assert found == pytest.approx(expected, rel=1e-12)
