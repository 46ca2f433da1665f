"""Texts that are true of another sample's picture: left out, or taken as positives, and the same on all processes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medvlp.core import Batch, ConfigError, Context, Objective, Part, Sample, collectives
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.core.registry import build
from medvlp.core.step_index import Exchange
from medvlp.data.collate import collate
from medvlp.data.pipeline import apply_views
from medvlp.data.views.facts import Facts
from medvlp.data.views.other_side import OtherSide
from medvlp.data.views.rewrite import Rewrite
from medvlp.data.views.sentences import Sentences
from medvlp.objectives._targets import related
from medvlp.text.facts import confirmed, facts_of, facts_of_labels, stated_field
from medvlp.training._planned import with_planned

REPORTS = (
    "Small left effusion. No pneumothorax. The heart is normal in size.",
    "The lungs are clear. No effusion. No pneumothorax.",
    "Left effusion. Right rib fracture. No pneumothorax.",
    "Small bilateral effusions. Nodule in the right upper lobe.",
    "",
    "No fracture. No effusion. Stable central line on the right.",
    "As discussed with the referring team.",
)
LABELS = ({}, {}, {"label.nodule": 0.0}, {}, {"label.effusion": 1.0, "label.pneumothorax": 0.0}, {}, {})
LESS, MORE = "Left effusion.", "Left effusion. Nodule in the right upper lobe."
VIEWS = [
    Rewrite(probability=0.5),
    OtherSide(stated="text.stated", unsided=2),
    Sentences(probability=0.8, most=2, extra=1),
    Facts(field="text"),
    Facts(field="text.stated"),
]


def samples(draw: int) -> list[Sample]:
    made = [{**({"text": r} if r else {}), **labels} for r, labels in zip(REPORTS, LABELS, strict=True)]
    return [apply_views(Sample(str(i), f), VIEWS, draw=100 * draw + i) for i, f in enumerate(made)]


def texts_of(sample: Sample, field: str) -> list[str]:
    value = sample.fields.get(field, ())
    return [str(text) for text in (value if isinstance(value, tuple) else (value,))]


def context(made: list[Sample], field: str) -> Context:
    batch = collate(made, torch.arange(len(made)))
    owner = batch[field].owner
    parts = {
        parse_key("image/embedding"): Part(torch.eye(len(made)), torch.arange(len(made))),
        parse_key(f"{field}/embedding"): Part(torch.eye(len(owner)), owner),
    }
    return Context(parts=parts, batch=batch)


def test_pictures_are_compared_by_the_text_that_is_asked_whatever_was_asked_before() -> None:
    batch, key = collate(samples(0), torch.arange(len(REPORTS))), "image/embedding"
    parts = {parse_key(key): Part(torch.eye(len(REPORTS)), torch.arange(len(REPORTS)))}
    one = Context(parts=parts, batch=batch)
    for field in ("text", "text.stated"):
        fresh = Context(parts=parts, batch=batch)
        found, wanted = (related(ctx, "true_of", rows=key, columns=key, text=field) for ctx in (one, fresh))
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("field", ["text", "text.stated"])
def test_a_text_is_true_of_a_sample_if_its_whole_report_or_labels_confirm_every_fact(field: str) -> None:
    """Against a loop over pairs, on reports of which views have left a part."""
    others, missing = 0, 0
    for draw in range(20):
        made = samples(draw)
        ctx = context(made, field)
        got = related(ctx, "true_of", rows="image/embedding", columns=f"{field}/embedding", text=field)
        equal = related(ctx, "same_report", rows="image/embedding", columns=f"{field}/embedding", text=field)
        column = 0
        for owner, sample in enumerate(made):
            for text in texts_of(sample, field):
                said = facts_of(text)
                for i, (report, labels) in enumerate(zip(REPORTS, LABELS, strict=True)):
                    by_label = {name.removeprefix("label."): value for name, value in labels.items()}
                    known = np.array([*facts_of(report), *facts_of_labels(by_label)], dtype=np.int64)
                    true = bool(said) and bool(confirmed(known, np.array(said)).any(axis=0).all())
                    assert got[i, column] == (true or equal[i, column]), (i, text)
                    others += true and i != owner
                    missing += not said
                column += 1
        turned = related(ctx, "true_of", rows=f"{field}/embedding", columns="image/embedding", text=field)
        assert torch.equal(turned, got.T)
    assert others > 50
    assert missing > 0 or field == "text.stated"


def test_another_text_of_the_field_states_as_the_field_does() -> None:
    """The short report is true of the long one's picture, and not the other way, whichever views are compared."""
    made = [Facts()(Sample(t, {"text": t}), torch.Generator()) for t in (LESS, MORE)]
    keys = ("image/embedding", "text/embedding", "image.strong/rocket", "text.strong/rocket")
    ctx = Context.of(dict.fromkeys(keys, torch.eye(2)), collate(made, torch.arange(2)))

    def true(rows: str, columns: str) -> list[list[int]]:
        return related(ctx, "true_of", rows=rows, columns=columns, text="text").int().tolist()

    assert true("image/embedding", "text/embedding") == [[1, 0], [1, 1]]
    assert true("image.strong/rocket", "text.strong/rocket") == [[1, 0], [1, 1]]
    assert true("text.strong/rocket", "image.strong/rocket") == [[1, 1], [0, 1]]


def test_facts_are_of_texts() -> None:
    with pytest.raises(ConfigError, match=r"facts reads a text field, not field='image': change these"):
        build("data/views", {"name": "facts", "field": "image"}, where="x")


def test_a_sample_without_words_or_labels_has_no_facts() -> None:
    assert Facts()(Sample("a", {"id.study": "s"}), torch.Generator()).fields == {"id.study": "s"}


# the step -----------------------------------------------------------------------------------------------------------


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor([1.5], dtype=torch.float64))

    def forward(self, scores: Tensor) -> Tensor:
        return self.log.exp() * scores


def step(spec: dict[str, Any], bounds: list[int]) -> dict[str, Tensor]:
    """Value and gradients on this process's samples; a field that none of them has is absent, as after collation."""
    objective: Objective = build("objectives", spec, where="test")
    field = str(spec.get("text", "text"))
    start, stop = bounds[collectives.rank()], bounds[collectives.rank() + 1]
    made = samples(3)
    whole = collate(made, torch.arange(len(made)))
    batch = collate(made[start:stop], torch.arange(start, stop))
    fields = sorted(str(key) for key in objective.needs() if key.is_field)
    batch = with_planned(batch, fields)
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 5, generator=draw, dtype=torch.float64).requires_grad_()
    parts = {}
    for view, owner in (("image", torch.arange(len(made))), (field, whole[field].owner)):
        values = torch.randn(len(owner), 5, generator=draw, dtype=torch.float64)
        here = (owner >= start) & (owner < stop)
        parts[parse_key(f"{view}/embedding")] = Part(unit(values[here] @ weight.T), owner[here] - start)
    scale = Scale()
    terms = objective(Context(parts=parts, batch=batch, scale=scale, exchange=Exchange(fields)))
    loss = torch.zeros((), dtype=torch.float64)
    value = torch.zeros((), dtype=torch.float64)
    for term in terms.values():
        count = collectives.total(term.count)
        value += collectives.total(term.sum) / count
        loss = loss + collectives.world_size() * term.sum / count
    loss.backward()
    collectives.average_gradients_([weight, scale.log])
    assert weight.grad is not None
    assert scale.log.grad is not None
    return {"value": value, "weight": weight.grad, "scale": scale.log.grad}


SPECS = [
    {"name": "clip", "exclude": "true_of"},
    {"name": "clip", "positives": "own", "exclude": "true_of", "text": "text.stated"},
    {"name": "clip", "positives": "true_of"},
    {"name": "siglip", "exclude": "true_of"},
    {"name": "siglip", "positives": "true_of", "text": "text.stated"},
]


@pytest.mark.pool
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: "-".join(map(str, spec.values())))
@pytest.mark.slow
def test_one_process_is_several(pool: Any, spec: dict[str, Any]) -> None:
    """Sample 4 has labels and no text, so that a process of it alone lacks the fields of facts of texts."""
    expected = step(spec, [0, 7])
    for bounds in ([0, 3, 7], [0, 4, 5, 7]):
        for got in pool.run(len(bounds) - 1, step, spec, bounds):
            for name, value in expected.items():
                torch.testing.assert_close(got[name], value, rtol=1e-10, atol=1e-12)


def test_what_is_true_is_no_negative_or_a_positive() -> None:
    made = samples(3)
    ctx = context(made, "text")
    same = related(ctx, "same_report", rows="image/embedding", columns="text/embedding", text="text")
    true = related(ctx, "true_of", rows="image/embedding", columns="text/embedding", text="text")
    assert (true & ~same).any()
    z = torch.randn(true.shape, generator=torch.Generator().manual_seed(0))

    def term(options: dict[str, str]) -> float:
        objective = build("objectives", {"name": "clip", "text": "text", **options}, where="test")
        parts = {parse_key("image/embedding"): Part(torch.eye(len(z)), torch.arange(len(z)))}
        parts[parse_key("text/embedding")] = Part(z.T.contiguous(), ctx.parts[parse_key("text/embedding")].owner)
        return float(objective(Context(parts=parts, batch=ctx.batch))["image_to_text"].value())

    for options, target, left in (
        ({"exclude": "true_of"}, same, ~true | same),
        ({"positives": "true_of"}, true, torch.ones_like(true)),
    ):
        rows = []
        for i in range(len(z)):
            inside = z[i][left[i]].logsumexp(0)
            if target[i].any():
                rows.append(float((inside - z[i][target[i]]).mean()))
        assert term(options) == pytest.approx(np.mean(rows) / 2, rel=1e-5)


def test_needs_and_views_follow_the_options() -> None:
    plain = build("objectives", {"name": "clip"}, where="x")
    assert plain.data_views() == ()
    for name in ("clip", "siglip"):
        objective = build("objectives", {"name": name, "exclude": "true_of", "text": "text.impression"}, where="x")
        needs = {str(key) for key in objective.needs()}
        assert {"text.impression", "graph.facts", stated_field("text.impression")} <= needs
        assert list(objective.data_views()) == [{"name": "facts", "field": "text.impression"}]


def test_a_batch_that_nobody_read_is_named() -> None:
    with pytest.raises(ConfigError, match=r"The batch has no field 'graph.facts'"):
        related(
            Context(
                parts={parse_key(f"{v}/embedding"): Part(torch.eye(1), torch.arange(1)) for v in ("image", "text")},
                batch=Batch.of({"text": ["Clear."]}),
            ),
            "true_of",
            rows="image/embedding",
            columns="text/embedding",
            text="text",
        )
