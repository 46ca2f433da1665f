from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medvlp.core import Batch, ConfigError, Context, Part
from medvlp.core.keys import parse_key
from medvlp.core.registry import build
from medvlp.objectives.clip import Clip
from medvlp.objectives.cxr_clip import CxrClip
from tests.objectives.cases.cxr_clip import studies
from tests.objectives.world import rows

VIEWS = ("image", "image.other", "text", "text.prompt")
OWN = {"positives": "own"}


def context(count: int = 5, missing: int | None = None, **changes: list[str]) -> Context:
    """Rows of four views; `missing` has no second image."""
    parts = {}
    for seed, view in enumerate(VIEWS):
        owner = torch.tensor([i for i in range(count) if view != "image.other" or i != missing])
        parts[parse_key(f"{view}/embedding")] = Part(rows(count, seed)[owner], owner)
    texts = {"text": [f"report {i}" for i in range(count)], "text.prompt": [f"prompt {i}" for i in range(count)]}
    return Context(parts=parts, batch=Batch.of({**texts, **changes}))


def symmetric(one: Tensor, other: Tensor) -> float:
    """CLIP's loss of pairs in the order of their rows, by hand."""
    total = 0.0
    for a, b in ((one, other), (other, one)):
        for i in range(len(a)):
            scores = torch.stack([a[i] @ b[k] for k in range(len(b))])
            total += (scores.logsumexp(0) - scores[i]).item() / len(a)
    return total / 2


@pytest.mark.parametrize(
    ("more", "w_i", "w_t"), [({}, 1.0, 0.5), ({"image_weight": 0.3, "text_weight": 2.0}, 0.3, 2.0)]
)
def test_it_is_four_pairs_and_two_more_terms(more, w_i, w_t):
    ctx = context()
    x1, x2, t1, t2 = (ctx[f"{view}/embedding"] for view in VIEWS)
    pairs = sum(symmetric(x, t) for x in (x1, x2) for t in (t1, t2)) / 4
    expected = pairs + w_i * symmetric(x1, x2) + w_t * symmetric(t1, t2)
    terms = CxrClip(positives="own", **more)(ctx)
    assert len(terms) == 12
    assert sum(term.value().item() for term in terms.values()) == pytest.approx(expected, rel=1e-12)


def test_with_one_view_on_both_sides_it_is_clip():
    ctx = context()
    for positives in ("own", "same_report"):
        expected = sum(term.value() for term in Clip(positives=positives)(ctx).values())
        found = CxrClip(images=["image"], texts=["text"], positives=positives)(ctx)
        assert sum(term.value() for term in found.values()).item() == pytest.approx(expected.item(), rel=1e-12)


def test_the_same_view_four_times_is_clip_two_and_a_half_times():
    """Where both images and both texts are one vector, all six couples have the same loss."""
    same = {parse_key(f"{view}/embedding"): Part(rows(4, 0), torch.arange(4)) for view in VIEWS}
    ctx = Context(parts=same, batch=Batch.of({"text": list("abcd"), "text.prompt": list("abcd")}))
    expected = 2.5 * sum(term.value() for term in Clip()(ctx).values())
    found = sum(term.value() for term in CxrClip()(ctx).values())
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)


def test_a_study_with_one_film_adds_nothing_where_the_other_is_missing():
    terms = CxrClip(positives="own")(context(missing=2))
    counts = {name: term.count.item() for name, term in terms.items()}
    with_other = {name for name in counts if "image.other" in name}
    assert {name for name, count in counts.items() if count == 4} == with_other
    assert all(counts[name] == 5 for name in counts.keys() - with_other)


def test_equal_prompts_are_positives_of_prompts_and_equal_reports_of_reports():
    ctx = context(**{"text.prompt": ["normal"] * 5})
    terms = CxrClip()(ctx)
    # Every prompt is everybody's: the cross entropy with the uniform distribution, whatever the image.
    scores = ctx["image/embedding"] @ ctx["text.prompt/embedding"].T
    expected = (scores.logsumexp(1) - scores.mean(1)).mean().item() / 8
    assert terms["image_to_text.prompt"].value().item() == pytest.approx(expected, rel=1e-12)
    own = CxrClip(positives="own")(ctx)
    assert terms["image_to_text"].value().item() == own["image_to_text"].value().item()
    assert terms["image_to_image.other"].value().item() == own["image_to_image.other"].value().item()


def test_facts_are_read_of_every_text_and_films_are_never_asked_whether_they_are_true():
    objective = build("objectives", {"name": "cxr_clip", "exclude": "true_of"}, where="x")
    assert list(objective.data_views()) == [
        {"name": "facts", "field": "text"},
        {"name": "facts", "field": "text.prompt"},
    ]
    assert {"graph.facts", "graph.facts.text", "graph.facts.text.prompt"} <= set(map(str, objective.needs()))
    assert [answer.name for answer in objective.answers()] == ["zero_shot", "retrieval"]


@pytest.mark.parametrize(("side", "views"), [("images", []), ("texts", ["text", "text"]), ("images", list("abc"))])
def test_one_view_or_two_each_once(side, views):
    with pytest.raises(ConfigError, match=f"{side} of objective 'cxr_clip' are .*: name one view or two, each once"):
        build("objectives", {"name": "cxr_clip", side: views}, where="x")


def test_the_case_has_studies_of_one_film_and_of_two():
    made = studies(torch.arange(6), torch.float64)
    assert made["image.other"].owner.tolist() == [1, 2, 4, 5]
