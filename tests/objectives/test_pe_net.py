"""PE-Net: its two rules over prototypes at their bounds, its margin by hand, and its head's formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medvlp.core import Part
from medvlp.core.encoded import Encoded, unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import parse_key
from medvlp.models.bank import Bank
from medvlp.models.heads.pe_net import PeNet as Head
from medvlp.models.heads.pe_net import fused
from medvlp.objectives._matched_pairs import match_pairs
from medvlp.objectives.pe_net import PeNet, alike, apart, beyond
from tests.objectives.test_rlipv2 import LABELS, QUERIES, VERBS, P, context, given, matrix, objective


def rand(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("count", [3, 8])
def test_the_rule_of_likeness_lies_between_orthogonal_and_equal_prototypes(count: int) -> None:
    assert float(alike(torch.eye(count) * 5)) == pytest.approx(1 / count)
    assert float(alike(torch.ones(count, 4))) == pytest.approx(count**-0.5)
    for seed in range(5):
        assert 1 / count < float(alike(rand(count, 4, seed=seed))) < count**-0.5


def test_its_gradient_passes_one_side_alone() -> None:
    free, fixed = rand(4, 3, seed=1).requires_grad_(), rand(4, 3, seed=1)
    alike(free).backward()
    other = rand(4, 3, seed=1).requires_grad_()
    ((unit(other) @ unit(fixed).T).norm(dim=1).sum() / 16).backward()
    torch.testing.assert_close(free.grad, other.grad)


def test_a_prototype_is_driven_from_its_nearest_which_is_not_driven_from_it() -> None:
    three = torch.tensor([[0.0], [2.0], [3.0]]).requires_grad_()  # nearest to 0 is 2, to 2 is 3, and to 3 is 2
    apart(three, 7.0).backward()
    torch.testing.assert_close(three.grad, torch.tensor([[2 * 2.0], [2 * 1.0], [-2 * 1.0]]) / 3)


def test_distance_and_margin_by_hand() -> None:
    prototypes, vectors, target = rand(5, 3, seed=2), rand(6, 3, seed=3), torch.tensor([0, 1, 2, 3, 4, 0])
    near = [
        min(float((a - b).square().sum()) for j, b in enumerate(prototypes) if j != i) for i, a in enumerate(prototypes)
    ]
    assert float(apart(prototypes, 7.0)) == pytest.approx(sum(max(0, 7 - each) for each in near) / 5)
    for row, right, value in zip(vectors, target.tolist(), beyond(vectors, prototypes, target, nearest=2), strict=True):
        squared = [float((row - c).square().sum()) for c in prototypes]
        wrong = sorted(each for k, each in enumerate(squared) if k != right)[:2]
        assert float(value) == pytest.approx(max(0, squared[right] - sum(wrong) / 2 + 1))
    # More nearest ones than there are wrong ones are all of them.
    torch.testing.assert_close(*(beyond(vectors, prototypes, target, nearest=n) for n in (4, 10)))


def test_equal_subject_and_object_are_twice_their_positive_part() -> None:
    x = rand(7, 5, seed=4)
    torch.testing.assert_close(fused(x, x), (2 * x).relu())


def test_the_head_is_the_papers_formula() -> None:
    bank = Bank(
        "relations", ("effusion", "heart", "at", "by"), torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    )
    head = Head(pair_width=4, banks={"relations": bank}, labels=2, hidden=5, width=3).double()
    pairs, sure = rand(1, 2, 12, seed=5), torch.tensor([[[50.0, 0.0, 9.0], [0.0, 50.0, 9.0]]]).double()
    parts = {
        "relations": pairs,
        "relations_pairs": pairs,
        "relations_subjects": sure,
        "relations_objects": sure.flip(1),
    }
    out = head(Encoded(owner=torch.arange(1), extra=parts), "pe_net")
    book = bank.vectors.double()  # pyrefly: ignore
    for q, (subject, other) in enumerate(((0, 1), (1, 0))):
        ends = []
        for side, word in enumerate((subject, other)):
            t = head.entities[side](book[word])
            x = head.features[side](pairs[0, q, 4 * side : 4 * side + 4])
            y = t + head.gates[side](torch.cat([t, x])).sigmoid() * x
            ends.append(head.norm(y + head.residual(y).relu()))
        union = head.features[2](pairs[0, q, 8:])
        both = (ends[0] + ends[1]).relu() - (ends[0] - ends[1]) ** 2
        r = both - head.gates[2](torch.cat([both, union])).sigmoid() * union
        for k, text in enumerate((book[2], book[3], head.nothing)):
            c = head.project(head.predicates(text))
            cosine = torch.nn.functional.cosine_similarity(head.project(r), c, dim=0)
            assert float(out["pe_net"].detach()[0, q, k]) == pytest.approx(float(cosine.detach() / 0.07), rel=1e-6)
    with pytest.raises(ConfigError, match="none of a predicate"):
        Head(pair_width=4, banks={"relations": bank}, labels=4)


def test_what_a_pair_is_called_is_not_taught_by_its_predicate() -> None:
    """Names come from another objective, as in the paper, whose entities are known."""
    bank = Bank("relations", ("effusion", "heart", "at"), rand(3, 6, seed=0).float())
    head = Head(pair_width=4, banks={"relations": bank}, labels=2, hidden=5, width=3).double()
    names = {f"relations_{side}": rand(1, 2, 3, seed=9).requires_grad_() for side in ("subjects", "objects")}
    pairs = rand(1, 2, 12, seed=5).requires_grad_()
    given = {"relations": pairs, "relations_pairs": pairs, **names}
    head(Encoded(owner=torch.arange(1), extra=given), "pe_net")["pe_net"].sum().backward()
    assert pairs.grad is not None
    assert bool(pairs.grad.any())
    assert all(each.grad is None for each in names.values())


def test_its_terms_are_over_the_pairs_that_rlipv2_matches() -> None:
    parts = given()
    ctx = context(parts)
    logits, vectors = rand(3, QUERIES, P + 1, seed=6), rand(3, QUERIES, 4, seed=7)
    prototypes = rand(P + 1, 4, seed=8).expand(3, -1, -1)
    for name, value in (("", logits), ("_vectors", vectors), ("_prototypes", prototypes)):
        ctx.parts[parse_key(f"image/pe_net{name}")] = Part(value, torch.arange(3))  # type: ignore[index]
    terms = PeNet(labels=LABELS, predicates=VERBS)(ctx)
    found = [parts[name] for name in ("", "_subjects", "_objects", "_predicates")]
    matched = match_pairs(found, objective().truths(ctx), l1=2.5, giou=1.0)
    assert matched.row.tolist() == [0, 0]
    query = matched.query
    loss = weight = 0.0
    for row in (0, 1):  # both pairs of sample 0 state the first predicate; sample 1 states none
        for q in range(QUERIES):
            right = row == 0 and q in query.tolist()
            w = 1.0 if right else 0.1
            loss -= w * float(logits[row, q].log_softmax(0)[0 if right else P])
            weight += w
    assert float(terms["predicate"].value()) == pytest.approx(loss / weight)
    assert float(terms["alike"].value()) == pytest.approx(float(alike(prototypes[0])))
    assert float(terms["apart"].value()) == pytest.approx(float(apart(prototypes[0], 7.0)))
    margin = beyond(vectors[0, query], prototypes[0], torch.zeros(2, dtype=torch.int64), nearest=10)
    assert float(terms["beyond"].value()) == pytest.approx(float(margin.mean()))
    assert math.isfinite(sum(float(term.value()) for term in terms.values()))


@pytest.mark.parametrize(("value", "learns"), [(0.5, False), (0.0, True)])
def test_a_pair_that_is_only_uncertain_is_neither_taught_nor_denied(value: float, learns: bool) -> None:
    parts = given()
    ctx = context(parts, stated={0: matrix((0, 0, 2, value))})
    logits = rand(3, QUERIES, P + 1, seed=6).requires_grad_()
    vectors, prototypes = rand(3, QUERIES, 4, seed=7), rand(P + 1, 4, seed=8).expand(3, -1, -1)
    for name, each in (("", logits), ("_vectors", vectors), ("_prototypes", prototypes)):
        ctx.parts[parse_key(f"image/pe_net{name}")] = Part(each, torch.arange(3))  # type: ignore[index]
    terms = PeNet(labels=LABELS, predicates=VERBS)(ctx)
    terms["predicate"].sum.backward()
    assert logits.grad is not None
    assert int(logits.grad[0].any(dim=1).sum()) == QUERIES - (not learns)
    assert float(terms["predicate"].count) == pytest.approx(0.1 * (QUERIES - (not learns)))
    assert (float(terms["beyond"].sum), float(terms["beyond"].count)) == (0, 0)
