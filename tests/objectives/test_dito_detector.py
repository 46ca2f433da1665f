"""DITO's detector: each member of the ensemble alone, what is multiplied, and which proposals are taught what."""

from __future__ import annotations

import pytest
import torch

from medvlp.core import Context, Part
from medvlp.core.encoded import Encoded, unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import parse_key
from medvlp.core.sample import Batch, Column
from medvlp.models.bank import Bank
from medvlp.models.heads.dito_detector import DitoDetector as Head
from medvlp.models.heads.dito_detector import ensemble
from medvlp.objectives.dito_detector import DitoDetector

BOOKS = {"names": Bank("names", ("a", "b", "c"))}
TEXTS = unit(torch.randn(3, 4, generator=torch.Generator().manual_seed(1)))


def head(**options: float) -> Head:
    torch.manual_seed(0)
    given = {"token_width": 8, "embed_dim": 4, "texts_of": lambda bank, rows: TEXTS, "banks": BOOKS}
    return Head(bank="names", classes=3, taught=2, **given, **options)  # type: ignore[arg-type]


def rows() -> Encoded:
    draw = torch.Generator().manual_seed(3)
    parts = {"boxes": torch.rand(2, 5, 4, generator=draw) * 0.4 + 0.2}
    parts |= {"boxes_logits": torch.randn(2, 5, 3, generator=draw), "local": torch.rand(2, 6, 4, generator=draw)}
    tokens = torch.rand(2, 6, 8, generator=draw)
    return Encoded(owner=torch.arange(2), tokens=tokens, grid=(2, 3), extra=parts)


def test_a_weight_of_0_or_1_returns_each_member() -> None:
    draw = torch.Generator().manual_seed(2)
    detector, vlm = (torch.rand(7, n, generator=draw).softmax(1) for n in (4, 3))
    torch.testing.assert_close(ensemble(detector, vlm, torch.zeros(3)), detector)
    single = ensemble(detector, vlm, torch.ones(3))
    torch.testing.assert_close(single[:, :3] / single[:, :3].sum(1, keepdim=True), vlm)
    torch.testing.assert_close(single[:, 3] / single[:, :3].sum(1), detector[:, 3])  # the background is the detector's
    mixed = ensemble(detector, vlm, torch.tensor([0.35, 0.35, 0.65]))
    ratio = detector[:, 2] ** 0.35 * vlm[:, 2] ** 0.65 / (detector[:, 0] ** 0.65 * vlm[:, 0] ** 0.35)
    torch.testing.assert_close(mixed[:, 2] / mixed[:, 0], ratio)
    torch.testing.assert_close(mixed.sum(1), torch.ones(7))


def test_novel_classes_lean_on_the_frozen_tower() -> None:
    assert head().weights.tolist() == pytest.approx([0.35, 0.35, 0.65])


def test_probabilities_are_multiplied_by_the_objectness_to_a_power_and_sum_to_one() -> None:
    encoded = rows()
    detector = head(base=0.0, novel=0.0, power=3.0)
    out = detector(encoded, "found")
    torch.testing.assert_close(out["found"], encoded.part("boxes"))
    there = 1 - encoded.part("boxes_logits").softmax(2)[..., 2]
    expected = out["found_scores"].softmax(2)[..., :3] * there[..., None] ** 3
    got = out["found_logits"].softmax(2)
    torch.testing.assert_close(got[..., :3], expected)
    torch.testing.assert_close(got.sum(2), torch.ones(2, 5))
    plain = head(base=0.0, novel=0.0, power=0.0)(encoded, "found")
    torch.testing.assert_close(plain["found_logits"].softmax(2), plain["found_scores"].softmax(2))


def test_a_box_of_one_cell_is_compared_as_that_cell() -> None:
    """The frozen member alone, without objectness: cosines of the cell's projection over 0.01."""
    encoded = rows()
    cell = torch.tensor([2.5 / 3, 0.75, 1 / 3, 0.5])  # the last of two by three
    extra = {**encoded.extra, "boxes": cell.expand(2, 5, 4)}
    frozen = Encoded(owner=encoded.owner, tokens=encoded.tokens, grid=(2, 3), extra=extra)
    got = head(base=1.0, novel=1.0, power=0.0)(frozen, "found")["found_logits"].softmax(2)[..., :3]
    share = (unit(encoded.part("local")[:, 5]) @ TEXTS.T / 0.01).softmax(1)
    torch.testing.assert_close((got / got.sum(2, keepdim=True))[:, 0], share)


def test_proposals_have_the_class_of_the_box_they_overlap_and_others_are_background() -> None:
    every, side = torch.arange(3), 10.0
    shown = torch.tensor([[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5], [0.3, 0.25, 0.5, 0.5]])
    scores = torch.randn(3, 3, 4, generator=torch.Generator().manual_seed(4))  # two taught, a novel one, background
    columns = {"image": Column(torch.zeros(3, 1, 10, 10), every)}
    columns["boxes.a"] = Column(torch.tensor([[0.0, 0, side / 2, side / 2]]), every[:1], known=every == 0)
    columns["boxes.b"] = Column(torch.zeros(0, 4), every[:0], known=every == 1)  # looked for in 1, and not there
    parts = {"": Part(shown.expand(3, 3, 4), every), "_scores": Part(scores, every)}
    made = {parse_key(f"image/dito_detector{name}"): part for name, part in parts.items()}
    ctx = Context(parts=made, batch=Batch(("x", "y", "z"), every, columns))
    term = DitoDetector(labels=["a", "b"], novel=["c"], bank="names")(ctx)["class"]
    logs = scores[..., [0, 1, 3]].log_softmax(2)
    loss = -(logs[0, 0, 0] + 0.9 * logs[0, 1, 2] + logs[0, 2, 0]) - 0.9 * logs[1, :, 2].sum()
    assert float(term.value()) == pytest.approx(float(loss) / (2 + 4 * 0.9))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="name each once"):
        DitoDetector(labels=["a"], novel=["a"], bank="names")
    with pytest.raises(ConfigError, match="give each class one text, taught ones first"):
        Head(
            token_width=8,
            embed_dim=4,
            texts_of=lambda bank, rows: TEXTS,
            banks=BOOKS,
            bank="names",
            classes=2,
            taught=2,
        )
