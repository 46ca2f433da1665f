from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medvlp.core.encoded import unit
from medvlp.core.registry import available, build
from medvlp.models.scores.dot import Dot
from medvlp.models.scores.late_interaction import LateInteraction


def side(rows: int, tokens: int, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(rows, tokens, generator=generator) < 0.6
    mask[:, 0] = True
    return {"local": torch.randn(rows, tokens, 4, generator=generator, dtype=torch.float64), "mask": mask}


def by_loops(rows: dict[str, torch.Tensor], columns: dict[str, torch.Tensor]) -> torch.Tensor:
    out = torch.zeros(len(rows["local"]), len(columns["local"]), dtype=torch.float64)
    for r, (own, own_mask) in enumerate(zip(rows["local"], rows["mask"], strict=True)):
        for c, (other, other_mask) in enumerate(zip(columns["local"], columns["mask"], strict=True)):
            best = []
            for i in own_mask.nonzero().flatten().tolist():
                cosines = [
                    float(own[i] @ other[j] / (own[i].norm() * other[j].norm()))
                    for j in other_mask.nonzero().flatten().tolist()
                ]
                best.append(max(cosines))
            out[r, c] = sum(best) / len(best)
    return out


@settings(deadline=None, max_examples=40, print_blob=True)
@given(
    r=st.integers(1, 4),
    c=st.integers(1, 4),
    n=st.integers(1, 5),
    m=st.integers(1, 5),
    seed=st.integers(0, 10**6),
    tile=st.sampled_from([1, 30, 2**24]),
)
def test_late_interaction_equals_loops_over_real_tokens(r: int, c: int, n: int, m: int, seed: int, tile: int) -> None:
    rows, columns = side(r, n, seed), side(c, m, seed + 1)
    scores = LateInteraction(tile=tile)(rows, columns)
    torch.testing.assert_close(scores, by_loops(rows, columns), rtol=1e-10, atol=1e-12)


def test_tiles_change_neither_value_nor_gradient() -> None:
    rows, columns = side(5, 4, 0), side(3, 6, 1)
    weight = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    grads = []
    for tile in (1, 2**24):
        tokens = rows["local"].clone().requires_grad_()
        (LateInteraction(tile=tile)({**rows, "local": tokens}, columns) * weight).sum().backward()
        grads.append(tokens.grad)
    torch.testing.assert_close(grads[0], grads[1])


def test_with_one_token_on_each_side_late_interaction_is_the_cosine() -> None:
    rows, columns = side(3, 1, 0), side(2, 1, 1)
    embeddings = [{"embedding": unit(s["local"][:, 0])} for s in (rows, columns)]
    torch.testing.assert_close(LateInteraction()(rows, columns), Dot()(*embeddings))


def test_late_interaction_ignores_the_order_of_tokens_and_appended_padding() -> None:
    rows, columns = side(3, 5, 0), side(2, 4, 1)
    scores = LateInteraction()(rows, columns)
    order = torch.tensor([3, 1, 4, 0, 2])
    shuffled = {name: values[:, order] for name, values in rows.items()}
    torch.testing.assert_close(LateInteraction()(shuffled, columns), scores)
    padded = {
        "local": torch.cat([columns["local"], torch.full((2, 3, 4), 7.0, dtype=torch.float64)], dim=1),
        "mask": torch.cat([columns["mask"], torch.zeros(2, 3, dtype=torch.bool)], dim=1),
    }
    torch.testing.assert_close(LateInteraction()(rows, padded), scores)


def test_a_column_without_a_real_token_scores_zero() -> None:
    columns = side(2, 4, 1)
    columns["mask"][1] = False
    scores = LateInteraction()(side(3, 5, 0), columns)
    assert scores.isfinite().all()
    assert not scores[:, 1].any()


@pytest.mark.parametrize("name", available("models/scores"))
def test_every_score_is_built_by_its_name(name: str) -> None:
    score = build("models/scores", {"name": name}, where="score")
    assert score.reads
