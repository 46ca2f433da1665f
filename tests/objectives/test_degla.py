from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medvlp.core import Batch, ConfigError, Context, Part
from medvlp.core.keys import parse_key
from medvlp.core.registry import build
from medvlp.core.sample import Sample
from medvlp.data.collate import collate
from medvlp.data.views.facts import Facts
from medvlp.objectives.clip import Clip
from medvlp.objectives.degla import Degla
from medvlp.objectives.hard_negatives import HardNegatives
from tests.objectives.world import Scale, rows

B, K = 3, 2
OWNER = [i for i in range(B) for _ in range(K)]  # sample-major: b0n0, b0n1, b1n0 ...


def context(
    *, copies: Tensor | None = None, owner: list[int] | None = None, taught: int = 10, batch: Batch | None = None
) -> Context:
    """Three samples; the teacher's rows are others than the student's unless `taught` is 0."""
    rows_of = {"image": rows(B, 0), "text": rows(B, 1), "text.negative": rows(B * K, 2) if copies is None else copies}
    owners = {"image": [*range(B)], "text": [*range(B)], "text.negative": OWNER if owner is None else owner}
    parts = {}
    for seed, (view, values) in enumerate(rows_of.items()):
        of = torch.tensor(owners[view], dtype=torch.int64)
        parts[parse_key(f"{view}/embedding")] = Part(values.requires_grad_(), of)
        parts[parse_key(f"ema:{view}/embedding")] = Part(
            rows(len(values), taught + seed) if taught else values.detach(), of
        )
    return Context(parts=parts, batch=batch or Batch.of({"text": ["a", "b", "c"]}), scale=Scale())


def test_every_term_is_the_loop() -> None:
    ctx = context()
    terms = Degla(image_grounded=0.2, text_grounded=0.3, distillation=0.5)(ctx)
    scale, bias = ctx.scale.log.exp(), ctx.scale.bias  # type: ignore[union-attr]
    v, t, n = (ctx[f"{view}/embedding"] for view in ("image", "text", "text.negative"))
    v2, t2, n2 = (ctx[f"ema:{view}/embedding"] for view in ("image", "text", "text.negative"))
    base, back, image, text, apart = (torch.zeros((), dtype=torch.float64) for _ in range(5))
    for i in range(B):
        own = [n[k] for k in range(B * K) if OWNER[k] == i]
        z = torch.stack([scale * (v[i] @ each) + bias for each in [*t, *n]]).squeeze()
        base = base + z.logsumexp(0) - z[i]
        z = torch.stack([scale * (t[i] @ each) + bias for each in v]).squeeze()
        back = back + z.logsumexp(0) - z[i]
        z = torch.stack([scale * (v[i] @ each) + bias for each in [t[i], *own]]).squeeze()
        image = image + z.logsumexp(0) - z[0]
        z = torch.stack([10 * (t[i] @ each) for each in [t2[i], *own]])
        text = text + z.logsumexp(0) - z[0]
    for own_rows, other in ((v, v2), (t, t2), (n, n2)):
        apart = apart + sum(((a - b) ** 2).sum() for a, b in zip(own_rows, other, strict=True))
    expected = {
        "image_to_text": 0.5 * base,
        "text_to_image": 0.5 * back,
        "image_grounded": 0.2 * image,
        "text_grounded": 0.3 * text,
        "distillation": 0.5 * apart,
    }
    assert terms.keys() == expected.keys()
    for name, total in expected.items():
        assert terms[name].count.item() == B
        torch.testing.assert_close(terms[name].sum, total, rtol=1e-12, atol=1e-12)


def test_own_negatives_are_the_samples_own_for_text_as_for_image() -> None:
    """The public mask tiles the columns, so that text i meets copies i, i + B ...: other samples' with K = 2."""
    for term in ("text_grounded", "image_grounded"):
        for order in (list(range(B * K)), [4, 1, 0, 5, 3, 2]):  # whichever way the copies stand
            copies = rows(B * K, 2)[order]
            ctx = context(copies=copies, owner=[OWNER[k] for k in order])
            rows_of = "text" if term == "text_grounded" else "image"
            for i in range(B):
                anchor = ctx[f"{rows_of}/embedding"]
                (gradient,) = torch.autograd.grad(Degla()(ctx)[term].sum, anchor, retain_graph=True)
                mine = [place for place, k in enumerate(order) if OWNER[k] == i]
                moved = copies.detach().clone()
                moved[[place for place in range(B * K) if place not in mine]] += 1.0  # everybody else's copies move
                other = context(copies=moved, owner=[OWNER[k] for k in order])
                (same,) = torch.autograd.grad(Degla()(other)[term].sum, other[f"{rows_of}/embedding"])
                torch.testing.assert_close(same[i], gradient[i], rtol=0, atol=0)
                assert (same - gradient).abs().sum() > 1e-3


def test_without_copies_it_is_clip_and_distillation() -> None:
    ctx = context(copies=rows(1, 2)[:0], owner=[])
    terms, clip = Degla()(ctx), Clip()(ctx)
    for name in ("image_to_text", "text_to_image"):
        torch.testing.assert_close(terms[name].value(), clip[name].value(), rtol=1e-12, atol=0)
    for name in ("image_grounded", "text_grounded"):
        assert (terms[name].sum.item(), terms[name].count.item()) == (0.0, 0.0)
    assert terms["distillation"].value() > 0


def test_the_image_grounded_term_is_hard_negatives_and_a_student_that_is_its_teacher_is_not_pulled() -> None:
    ctx = context(taught=0)
    terms = Degla(image_grounded=1.0)(ctx)
    torch.testing.assert_close(terms["image_grounded"].sum, HardNegatives()(ctx)["own_text"].sum, rtol=0, atol=0)
    assert terms["distillation"].sum.item() == 0
    (gradient,) = torch.autograd.grad(terms["distillation"].sum, ctx["image/embedding"])
    assert gradient.abs().max() == 0


def test_nothing_flows_into_the_teacher_and_its_text_is_the_target() -> None:
    ctx = context()
    taught = ctx["ema:text/embedding"].requires_grad_()
    Degla()(ctx)["text_grounded"].sum.backward()
    assert taught.grad is None
    text = ctx["text/embedding"]
    assert text.grad is not None
    false = ctx["text.negative/embedding"].detach().view(B, K, -1).mean(dim=1)
    pull = (text.grad * (taught.detach() - false)).sum(dim=1)
    assert (pull < 0).all()  # towards the teacher's text, away from the copies


def test_a_copy_that_is_true_of_another_picture_is_no_negative_of_it_but_stays_its_own() -> None:
    """The copy "left" of b is true of a, "right" of a is true of b, and "effusion" of c is true of both."""
    texts = ("Left effusion.", "Right effusion.", "No effusion.")
    copies = ("Right effusion.", "Left effusion.", "Effusion.")
    made = []
    for text, copy in zip(texts, copies, strict=True):
        sample = Sample(text, {"text": text, "text.negative": (copy,)})
        for view in (Facts(), Facts(field="text.negative")):
            sample = view(sample, torch.Generator())
        made.append(sample)
    ctx = context(copies=rows(B, 2), owner=[0, 1, 2], batch=collate(made, torch.arange(B)))
    objective = Degla(exclude="true_of")
    assert {"graph.facts", "graph.facts.text", "graph.facts.text.negative"} <= set(map(str, objective.needs()))
    assert [view["field"] for view in objective.data_views()] == ["text", "text.negative"]
    z = ctx.scale(ctx["image/embedding"] @ torch.cat([ctx["text/embedding"], ctx["text.negative/embedding"]]).T)
    # Columns: texts a b c, copies a b c.
    seen = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1]]).bool()
    expected = sum(z[i][seen[i]].logsumexp(0) - z[i, i] for i in range(B))
    torch.testing.assert_close(objective(ctx)["image_to_text"].sum, 0.5 * expected, rtol=1e-12, atol=1e-12)


def test_copies_of_a_patients_other_report_are_left_out_and_a_pictures_own_are_not() -> None:
    """Samples a and b are one patient's; texts differ, so that each picture has one true text."""
    ctx = context(batch=Batch.of({"text": ["a", "b", "c"], "id.patient": ["p", "p", "q"]}))
    z = ctx.scale(ctx["image/embedding"] @ torch.cat([ctx["text/embedding"], ctx["text.negative/embedding"]]).T)
    # Columns: texts a b c, two copies of each.
    seen = torch.tensor([[1, 0, 1, 1, 1, 0, 0, 1, 1], [0, 1, 1, 0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1, 1, 1]]).bool()
    expected = sum(z[i][seen[i]].logsumexp(0) - z[i, i] for i in range(B))
    found = Degla(exclude="same_patient")(ctx)["image_to_text"].sum
    torch.testing.assert_close(found, 0.5 * expected, rtol=1e-12, atol=1e-12)


def test_its_weights_and_teacher_are_options() -> None:
    objective = build("objectives", {"name": "degla", "teacher": "frozen", "exclude": "same_patient"}, where="x")
    views = ("image", "text", "text.negative")
    both = {f"{who}{view}/embedding" for view in views for who in ("", "frozen:")}
    assert set(map(str, objective.needs())) == {*both, "text", "id.patient"}
    with pytest.raises(ConfigError, match=r"x\.text_scale is 0\.0: input should be greater than 0"):
        build("objectives", {"name": "degla", "text_scale": 0.0}, where="x")
