"""CLOC: the loss by hand, whole pictures as boxes, what leaves the denominators, and a weight of nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medvlp.core import Context, Part
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import parse_key
from medvlp.core.registry import build
from medvlp.core.sample import Batch, Column
from medvlp.models.build import build_model
from medvlp.models.heads.prompter import Prompter
from medvlp.objectives._contrast import contrast
from medvlp.objectives.cloc import Cloc
from medvlp.training.task import Task, make_plan
from tests.models.words import HashWords
from tests.objectives.cases import FINDINGS
from tests.objectives.cases._boxes import BANKS, boxed
from tests.objectives.cases.dito import GRID
from tests.objectives.pictures import FLOAT32, batch_of
from tests.objectives.regions import BOXES, LABELS, SIDE, Tenfold, context, rand


def prompter() -> Prompter:
    torch.manual_seed(0)
    return Prompter(token_width=6, embed_dim=5).double()


def asked(head: Prompter, **more: object) -> Context:
    part = Part(rand(4, 12, 6, seed=1), torch.arange(4), (3, 4))
    return context({"image/tokens": part}, heads={"cloc": head}, **more)  # pyrefly: ignore


def cloc(**options: object) -> Cloc:
    return Cloc(labels=list(LABELS), bank="phrases", **options)  # pyrefly: ignore


def test_the_loss_by_hand() -> None:
    """Six boxes; the phrase of another effusion is neither positive nor negative; three of four pictures have boxes."""
    head = prompter()
    ctx = asked(head)
    tokens, texts = ctx["image/tokens"], ctx["bank.phrases/embedding"]
    z, t, place = [], [], 0.0
    for sample, label, box in BOXES:
        corners = torch.tensor([box], dtype=torch.float64) / SIDE
        own = tokens[sample : sample + 1]
        z.append(unit(head.of_boxes(own, (3, 4), corners))[0])
        t.append(texts[LABELS.index(label)])
        place += float((head.boxes_of(own, (3, 4), t[-1][None]) - corners).square().detach().mean()) / 6
    loss = {"region_to_text": 0.0, "text_to_region": 0.0}
    for i, (_, label, _) in enumerate(BOXES):
        others = [j for j, (_, other, _) in enumerate(BOXES) if j == i or other != label]
        for name, scores in (
            ("region_to_text", [10 * z[i] @ t[j] for j in others]),
            ("text_to_region", [10 * t[i] @ z[j] for j in others]),
        ):
            own = 10 * z[i] @ t[i]
            loss[name] += float((torch.stack(scores).logsumexp(0) - own).detach()) / 6 / 2
    terms = {name: term.value().item() for name, term in cloc(same_above=1.0)(ctx).items()}
    assert terms == pytest.approx({name: 0.75 * v for name, v in {**loss, "place": place}.items()}, rel=1e-6)


def test_two_pictures_of_one_sample_are_two_pictures() -> None:
    """A frontal and a lateral picture of one study teach what they teach as pictures of two studies."""
    head, tokens = prompter(), rand(2, 12, 6, seed=1)
    boxes = {"effusion": (0, [2.0, 2, 8, 8]), "nodule": (1, [4.0, 4, 12, 10])}

    def terms(owner: Tensor) -> dict[str, tuple[float, float]]:
        columns = {"image": Column(torch.zeros(2, 1, SIDE, SIDE), owner)}
        for label, (picture, box) in boxes.items():
            sample = owner[picture : picture + 1]
            place = (owner[:picture] == sample).sum()[None]
            columns[f"boxes.{label}"] = Column(torch.tensor([box]), sample, place=place)
        parts = {parse_key("image/tokens"): Part(tokens, owner, (3, 4))}
        parts[parse_key("bank.phrases/embedding")] = Part(unit(rand(3, 5, seed=9)), torch.full((3,), -1))
        ids = ("a", "b")[: int(owner.max()) + 1]
        batch = Batch(ids, torch.arange(len(ids)), columns)
        ctx = Context(parts=parts, batch=batch, scale=Tenfold(), heads={"cloc": head})
        return {name: (term.value().item(), term.count.item()) for name, term in cloc()(ctx).items()}

    one, two = terms(torch.tensor([0, 0])), terms(torch.tensor([0, 1]))
    assert one == {name: (pytest.approx(value, rel=1e-12), count) for name, (value, count) in two.items()}


def test_whole_pictures_as_boxes_are_clip_of_prompted_vectors() -> None:
    whole = {label: [(i, [0, 0, SIDE, SIDE])] for i, label in enumerate(LABELS)}
    head = prompter()
    ctx = asked(head, drawn=whole)
    corners = torch.tensor([[0.0, 0.0, 1.0, 1.0]], dtype=torch.float64).expand(3, 4)
    z, t = unit(head.of_boxes(ctx["image/tokens"][:3], (3, 4), corners)), ctx["bank.phrases/embedding"]
    terms = cloc(same_above=1.0)(ctx)
    for name, scores in (("region_to_text", 10 * z @ t.T), ("text_to_region", 10 * t @ z.T)):
        clip = 0.75 * 0.5 * contrast(scores, torch.arange(3)).value()
        torch.testing.assert_close(terms[name].value(), clip, rtol=1e-9, atol=0)


def test_phrases_that_are_nearly_the_same_are_no_negatives() -> None:
    texts = unit(torch.tensor([[1.0, 0, 0, 0, 0], [1, 0.3, 0, 0, 0], [0, 0, 1, 0, 0]]).double())  # cosine .96
    near, kept = (cloc(same_above=above)(asked(prompter(), phrases=texts)) for above in (0.9, 0.97))
    assert near["region_to_text"].value() < kept["region_to_text"].value()
    alike = cloc(same_above=0.9)(asked(prompter(), phrases=texts[[0, 0, 0]]))
    assert alike["region_to_text"].value() == 0  # nothing is left to be told apart


def test_a_region_is_asked_for_alone_whatever_stands_beside_it() -> None:
    head, order = prompter(), [3, 0, 2, 1]
    tokens, boxes = rand(4, 12, 6, seed=1), torch.rand(4, 4, generator=torch.Generator().manual_seed(2)).double()
    torch.testing.assert_close(
        head.of_boxes(tokens[order], (3, 4), boxes[order]), head.of_boxes(tokens, (3, 4), boxes)[order]
    )
    ctx = asked(head)
    turned = {label: list(reversed(some)) for label, some in {"edema": [], **_drawn()}.items()}
    for name, term in cloc()(asked(head, drawn=turned)).items():
        torch.testing.assert_close(term.value(), cloc()(ctx)[name].value())


def _drawn() -> dict[str, list[tuple[int, list[float]]]]:
    return {label: [(s, box) for s, other, box in BOXES if other == label] for label in LABELS}


def test_without_a_box_nothing_is_asked_and_nothing_taught() -> None:
    head = prompter()
    terms = cloc()(asked(head, drawn={}))
    assert {name: (term.value().item(), float(term.count)) for name, term in terms.items()} == {
        "region_to_text": (0, 0),
        "text_to_region": (0, 0),
        "place": (0, 0),
    }


def test_a_bank_of_another_length_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'cloc' has 3 labels and the bank 'phrases' 2 texts"):
        cloc()(asked(prompter(), phrases=rand(2, 5, seed=0)))


def test_at_weight_nothing_it_leaves_clip_bit_for_bit() -> None:
    indices = torch.arange(8)
    spec = {"name": "cloc", "labels": list(FINDINGS), "bank": "findings"}
    gradients = []
    for specs in ([{"name": "clip"}], [{"name": "clip"}, spec]):
        model = build_model(GRID, tokenizer=HashWords(), banks=BANKS, seed=3)
        made = {str(each["name"]): build("objectives", each, where="test") for each in specs}
        model.mount({n: head for each in made.values() for n, head in each.heads().items()}, make_plan(made, {}))
        task = Task(model=model, objectives=made, states={}, seed=5, chunks=1, precision=FLOAT32)
        columns: dict[str, Column] = boxed(indices, torch.float32)
        task.backward(batch_of(columns, 8), {"clip": 1.0, "cloc": 0.0}, samples_seen=0)
        gradients.append({n: p.grad for n, p in model.named_parameters() if ".cloc" not in n and p.grad is not None})
    plain, beside = gradients
    assert plain.keys() <= beside.keys()
    assert all(torch.equal(plain[name], beside[name]) for name in plain)
    assert len(plain) > 20
    assert parse_key("image/tokens") in make_plan({"cloc": build("objectives", spec, where="test")}, {}).needs
