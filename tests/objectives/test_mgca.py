from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core import ConfigError
from medvlp.core.encoded import unit
from medvlp.objectives.mgca import Mgca
from tests.objectives.local import context, draw, real, total

WORDS = ["a", "b", "c"]


def world() -> dict[str, Tensor]:
    return {
        "image/local": draw(3, 4, 5, seed=0),
        "image/mask": real(4, 4, 3),
        "text/local": draw(3, 6, 5, seed=1),
        "text/mask": real(6, 2, 4),
    }


def side(own: Tensor, other: Tensor, temperature: float, weight: Tensor) -> Tensor:
    """The term of one study's words (or patches), real ones only."""
    context = torch.stack(
        [
            unit(sum(w * token for w, token in zip((other @ word / temperature).softmax(0), other, strict=True)))
            for word in own
        ]
    )
    z, found = own @ context.T / temperature, torch.zeros((), dtype=torch.float64)
    for at in range(len(own)):
        place = torch.tensor(at)
        found = found + weight[at] * (F.cross_entropy(z[at], place) + F.cross_entropy(z[:, at], place)) / 2
    return found


def by_loops(parts: dict[str, Tensor], temperature: float, weights: dict[str, list[Tensor]] | None = None) -> Tensor:
    terms = []
    for at in range(len(parts["text/local"])):
        words, patches = (unit(parts[f"{v}/local"][at, parts[f"{v}/mask"][at]]) for v in ("text", "image"))
        for name, own, other in (("text", words, patches), ("image", patches, words)):
            weight = torch.full((len(own),), 1 / len(own), dtype=own.dtype) if weights is None else weights[name][at]
            terms.append(side(own, other, temperature, weight) / 2)
    return torch.stack(terms).sum() / len(parts["text/local"])


@pytest.mark.parametrize("temperature", [0.1, 0.7])
def test_it_is_the_loop_over_studies_and_their_tokens(temperature):
    got = total(Mgca(temperature=temperature), context(world(), WORDS))
    torch.testing.assert_close(got, by_loops(world(), temperature), rtol=1e-9, atol=1e-12)


def test_other_studies_and_padding_take_no_part():
    parts = world()
    objective = Mgca()
    each = [total(objective, context({k: v[[i]] for k, v in parts.items()}, ["a"])) for i in range(3)]
    got = total(objective, context(parts, WORDS))
    torch.testing.assert_close(got, torch.stack(each).mean())
    leaves = [parts[f"{view}/local"].requires_grad_() for view in ("image", "text")]
    total(objective, context(parts, WORDS)).backward()
    for leaf, mask in zip(leaves, (parts["image/mask"], parts["text/mask"]), strict=True):
        assert leaf.grad is not None
        assert not leaf.grad[~mask].any()
        assert leaf.grad[mask].norm(dim=1).min() > 0
    longer = {**world(), "text/local": torch.cat([world()["text/local"], 5 * draw(3, 2, 5, seed=4)], 1)}
    longer["text/mask"] = torch.cat([world()["text/mask"], torch.zeros(3, 2, dtype=torch.bool)], 1)
    torch.testing.assert_close(total(objective, context(longer, WORDS)), got)


def test_the_order_of_patches_changes_nothing():
    parts = world()
    order = [2, 0, 1, 3]
    shuffled = {**parts, "image/local": parts["image/local"][:, order], "image/mask": parts["image/mask"][:, order]}
    got, expected = (total(Mgca(), context(p, WORDS)) for p in (shuffled, parts))
    torch.testing.assert_close(got, expected)


def test_weights_are_the_class_tokens_attention_within_its_10th_and_90th_percentile():
    parts = world()
    shapes = {"image": (3, 2, 5, 4), "text": (3, 2, 6, 6)}
    given = {v: draw(*shape, seed=7).exp() for v, shape in shapes.items()}
    weights: dict[str, list[Tensor]] = {"image": [], "text": []}
    for view, attention in given.items():
        for at in range(3):
            own = attention[at, -1, 0, parts[f"{view}/mask"][at]]
            own = own.clamp(own.quantile(0.1), own.quantile(0.9))
            weights[view].append(own / own.sum())
        hidden = ~parts[f"{view}/mask"][:, None, None].expand(shapes[view])
        parts[f"{view}/attention"] = attention.masked_fill(hidden, 0.0).requires_grad_()
    parts["text/local"].requires_grad_()
    got = total(Mgca(weights="attention"), context(parts, WORDS))
    torch.testing.assert_close(got, by_loops(parts, 0.1, weights), rtol=1e-9, atol=1e-12)
    got.backward()
    assert [parts[f"{view}/attention"].grad for view in shapes] == [None, None]  # a weight is nothing to be learned


def test_an_image_tower_without_class_token_cannot_weigh_by_its_attention():
    parts = world() | {"image/attention": draw(3, 1, 4, 4, seed=2), "text/attention": draw(3, 1, 6, 6, seed=3)}
    with pytest.raises(ConfigError, match="this image tower has no class token: set weights to uniform"):
        total(Mgca(weights="attention"), context(parts, WORDS))


def test_a_text_without_image_or_words_adds_nothing_and_two_texts_have_one_image():
    parts = world()
    only = {k: v[:1] if k.startswith("image") else v for k, v in parts.items()}
    terms = Mgca()(context(only, WORDS, owner=[0, 0, -1]))
    doubled = {k: v[[0, 0]] if k.startswith("image") else v[:2] for k, v in parts.items()}
    torch.testing.assert_close(
        torch.stack([term.value() for term in terms.values()]).sum(), by_loops(doubled, 0.1), rtol=1e-9, atol=1e-12
    )
    assert terms["words"].count.item() == pytest.approx(2)
    parts["text/mask"][1] = False
    leaf = parts["image/local"].requires_grad_()
    terms = Mgca()(context(parts, WORDS))
    assert [term.count.item() for term in terms.values()] == pytest.approx([2, 2])
    sum(term.value() for term in terms.values()).backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()
    assert not leaf.grad[1].any()
