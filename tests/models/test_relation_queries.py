"""ALIF's fusion: closed gates change nothing, one score matrix serves both ways; queries compared with texts."""

from __future__ import annotations

import math

import pytest
import torch

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.models.bank import Bank
from medvlp.models.heads.relation_queries import GatedFusion, RelationQueries

BANK = Bank(
    "relations", ("effusion", "left lung", "located at"), torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
)
SHAPE = {"queries": 3, "width": 8, "layers": 2, "heads": 2, "feedforward": 8}


def rows(count: int = 2) -> Encoded:
    tokens = torch.rand(count, 6, 5, generator=torch.Generator().manual_seed(2))
    return Encoded(owner=torch.arange(count), tokens=tokens, mask=torch.ones(count, 6, dtype=torch.bool), grid=(2, 3))


def test_closed_gates_leave_both_streams_as_they_are() -> None:
    fusion = GatedFusion(width=8, heads=2, gate=0.0)
    tokens, texts = torch.randn(2, 5, 8), torch.randn(2, 3, 8)
    for new, old in zip(fusion(tokens, texts, None), (tokens, texts), strict=True):
        assert torch.equal(new, old)


def test_one_score_matrix_serves_both_ways_and_padding_is_not_read() -> None:
    torch.manual_seed(0)
    fusion = GatedFusion(width=8, heads=2, gate=0.7).double()
    tokens, texts = torch.randn(1, 4, 8).double(), torch.randn(1, 3, 8).double()
    mask = torch.tensor([[True, True, True, False]])
    got = fusion(tokens, texts, mask)
    v, t = fusion.norms[0](tokens[0]), fusion.norms[1](texts[0])
    ask, key, of_v, of_t = fusion.ask(v), fusion.key(t), fusion.values[0](v), fusion.values[1](t)
    for_v, for_t = [], []
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        scores = ask[:, part] @ key[:, part].T / math.sqrt(4)
        for_v.append(torch.stack([scores[n].softmax(0) @ of_t[:, part] for n in range(4)]))
        for_t.append(torch.stack([scores[:3, k].softmax(0) @ of_v[:3, part] for k in range(3)]))
    torch.testing.assert_close(got[0][0], tokens[0] + 0.7 * fusion.out[0](torch.cat(for_v, dim=1)))
    torch.testing.assert_close(got[1][0], texts[0] + 0.7 * fusion.out[1](torch.cat(for_t, dim=1)))


def test_with_closed_gates_texts_know_nothing_of_the_picture() -> None:
    def difference(gate: float) -> float:
        torch.manual_seed(3)
        head = RelationQueries(token_width=5, banks={"relations": BANK}, labels=2, gate=gate, **SHAPE).eval()
        seen: list[torch.Tensor] = []
        head.entity.map.register_forward_hook(lambda module, given, made: seen.append(made))
        head(rows(), "relations")
        return float((seen[0][0] - seen[0][1]).abs().max())

    assert difference(0.0) == 0.0
    assert difference(0.5) > 0.0


@pytest.mark.parametrize(("every", "before"), [(2, [0, 2, 4]), (4, [0, 4]), (1, [0, 1, 2, 3, 4, 5])])
def test_both_streams_meet_before_every_so_many_layers_of_the_six_of_the_paper(every: int, before: list[int]) -> None:
    """The paper's 2 of 6: before layers 0, 2 and 4, so that texts pass half as many layers as pictures."""
    shape = {**SHAPE, "encoder_layers": 6, "fuse_every": every}
    head = RelationQueries(token_width=5, banks={"relations": BANK}, labels=2, **shape).eval()
    passed: list[str] = []
    for name in ("encoder", "fusions", "language"):
        for layer in getattr(head, name):
            layer.register_forward_hook(lambda module, given, made, name=name: passed.append(name))
    head(rows(), "relations")
    meetings = [passed[:at].count("encoder") for at, name in enumerate(passed) if name == "fusions"]
    assert meetings == before
    assert (passed.count("encoder"), passed.count("language")) == (6, len(before))


def test_the_order_of_words_is_the_order_of_logits() -> None:
    torch.manual_seed(4)
    head = RelationQueries(token_width=5, banks={"relations": BANK}, labels=2, **SHAPE).eval()
    first = head(rows(), "relations")
    head.book = head.book[[1, 0, 2]]
    second = head(rows(), "relations")
    torch.testing.assert_close(first["relations_subjects"][..., [1, 0, 2]], second["relations_subjects"])
    torch.testing.assert_close(first["relations_predicates"], second["relations_predicates"])
    # The last layer is given apart, the others side by side in the same order.
    assert first["relations_layers"].shape == (2, 1, 3, 8 + 3 + 3 + 1)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="no multiple of 4"):
        RelationQueries(token_width=5, banks={"relations": BANK}, labels=2, **{**SHAPE, "width": 6})
    with pytest.raises(ConfigError, match="give each predicate a text"):
        RelationQueries(token_width=5, banks={"relations": BANK}, labels=3, **SHAPE)
    head = RelationQueries(token_width=5, banks={"relations": BANK}, labels=2, **SHAPE)
    flat = Encoded(owner=torch.arange(1), tokens=torch.rand(1, 6, 5), mask=torch.ones(1, 6, dtype=torch.bool))
    with pytest.raises(ConfigError, match="needs the image tokens in a grid"):
        head(flat, "relations")
