from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core import Batch, Column, ConfigError, Context, Part, UserError
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.core.registry import build
from medvlp.objectives.clip import Clip
from medvlp.objectives.siglip import Siglip
from tests.models.words import DUAL, dual
from tests.objectives.world import rows

TOKENS = {"raw": (4,), "local": (5, 4)}


class Times(torch.nn.Module):
    """A fixed scale and bias."""

    def __init__(self, scale: float, bias: float = 0.0) -> None:
        super().__init__()
        self.scale, self.bias = scale, bias

    def forward(self, scores: Tensor) -> Tensor:
        return self.scale * scores + self.bias


def context(image: Tensor, text: Tensor, batch: Batch, *, owner: Tensor | None = None, scale: float = 10.0) -> Context:
    owners = torch.arange(batch.size)
    parts = {
        parse_key("image/embedding"): Part(image, owners),
        parse_key("text/embedding"): Part(text, owners if owner is None else owner),
    }
    return Context(parts=parts, batch=batch, scale=Times(scale))


def value(objective: torch.nn.Module, ctx: Context) -> Tensor:
    return sum(term.value() for term in objective(ctx).values())


def test_with_distinct_reports_it_is_the_textbook_loss():
    image, text = rows(5, 0), rows(5, 1)
    ctx = context(image, text, Batch.of({"text": list("abcde")}), scale=1 / 0.07)
    z, diagonal = image @ text.T / 0.07, torch.arange(5)
    expected = (F.cross_entropy(z, diagonal) + F.cross_entropy(z.T, diagonal)) / 2
    for positives in ("own", "same_report"):
        torch.testing.assert_close(value(Clip(positives=positives), ctx), expected, rtol=1e-12, atol=1e-12)
    smooth = [F.cross_entropy(m, diagonal, label_smoothing=0.2) / 2 for m in (z, z.T)]
    torch.testing.assert_close(value(Clip(label_smoothing=0.2), ctx), sum(smooth), rtol=1e-12, atol=1e-12)


def test_terms_are_halves_that_add_up():
    image, text = rows(4, 0), rows(4, 1)
    terms = Clip()(context(image, text, Batch.of({"text": list("abcd")})))
    z, diagonal = 10 * image @ text.T, torch.arange(4)
    torch.testing.assert_close(terms["image_to_text"].value(), F.cross_entropy(z, diagonal) / 2)
    torch.testing.assert_close(terms["text_to_image"].value(), F.cross_entropy(z.T, diagonal) / 2)


def test_equal_reports_are_no_negatives():
    """Copies of one report: own pairs only would punish the model for what it cannot know."""
    image = rows(3, 0)
    text = rows(2, 1)[[0, 0, 1]]
    ctx = context(image, text, Batch.of({"text": ["Clear.", "clear. ", "Effusion."]}))
    z = 10 * image @ text.T
    log_p = z.log_softmax(1)
    target = torch.tensor([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]], dtype=torch.float64)
    expected = -(target * log_p).sum(1).mean() / 2 - (target * z.T.log_softmax(1)).sum(1).mean() / 2
    torch.testing.assert_close(value(Clip(), ctx), expected, rtol=1e-12, atol=1e-12)
    # Left out instead of shared: the copy stands neither above nor below.
    masked = z.masked_fill(torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 0]]).bool(), -math.inf)
    back = z.T.masked_fill(torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 0]]).bool(), -math.inf)
    expected = (F.cross_entropy(masked, torch.arange(3)) + F.cross_entropy(back, torch.arange(3))) / 2
    own = Clip(positives="own", exclude="same_report")
    torch.testing.assert_close(value(own, ctx), expected, rtol=1e-12, atol=1e-12)


def test_several_texts_of_a_sample_are_each_others_positives_and_a_row_without_partner_is_dropped():
    """Sentences: sample 0 has two, sample 1 one, sample 2 none."""
    image, text = rows(3, 0), rows(3, 1)
    owner = torch.tensor([0, 0, 1])
    batch = Batch(tuple("abc"), torch.arange(3), {"text": Column(("u", "v", "w"), owner)})
    z = 10 * image @ text.T
    log_p = z.log_softmax(1)
    to_text = -((log_p[0, 0] + log_p[0, 1]) / 2 + log_p[1, 2]) / 2  # mean over two images, the third has no text
    to_image = F.cross_entropy(z.T, owner)  # mean over three sentences, against all three images
    terms = Clip(positives="own")(context(image, text, batch, owner=owner))
    torch.testing.assert_close(terms["image_to_text"].value(), to_text / 2, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(terms["text_to_image"].value(), to_image / 2, rtol=1e-12, atol=1e-12)
    assert (terms["image_to_text"].count.item(), terms["text_to_image"].count.item()) == (2, 3)


def test_decoupled_clip_is_clip_plus_the_log_of_what_negatives_hold():
    image, text = rows(5, 0), rows(5, 1)
    ctx = context(image, text, Batch.of({"text": list("abcde")}))
    z = 10 * image @ text.T
    rest = sum((1 - m.softmax(1).diagonal()).log().mean() / 2 for m in (z, z.T))
    decoupled = value(Clip(positive_in_denominator=False), ctx)
    torch.testing.assert_close(decoupled, value(Clip(), ctx) + rest, rtol=1e-12, atol=1e-12)


def test_exclusion_of_a_patient_takes_their_other_studies_out():
    image, text = rows(3, 0), rows(3, 1)
    batch = Batch.of({"text": list("abc"), "id.patient": ["p", "p", "q"]})
    hidden = torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 0]]).bool()
    z = 10 * image @ text.T
    expected = sum(F.cross_entropy(m.masked_fill(hidden, -math.inf), torch.arange(3)) / 2 for m in (z, z.T))
    got = value(Clip(exclude="same_patient"), context(image, text, batch))
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_siglip_is_binary_cross_entropy_over_pairs_a_row():
    image, text = rows(4, 0), rows(4, 1)
    ctx = context(image, text, Batch.of({"text": ["a", "b", "a", "c"]}))
    z = 10 * image @ text.T
    target = torch.eye(4, dtype=torch.float64)
    expected = F.binary_cross_entropy_with_logits(z, target, reduction="sum") / 4
    torch.testing.assert_close(value(Siglip(positives="own"), ctx), expected, rtol=1e-12, atol=1e-12)
    target[0, 2] = target[2, 0] = 1
    expected = F.binary_cross_entropy_with_logits(z, target, reduction="sum") / 4
    torch.testing.assert_close(value(Siglip(), ctx), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("objective", ["clip", "siglip"])
def test_needs_follow_the_options(objective):
    def needs(**options):
        return sorted(map(str, build("objectives", {"name": objective, **options}, where="x").needs()))

    both = ["image/embedding", "text/embedding"]
    assert needs(positives="own") == both
    assert needs() == sorted([*both, "text"])
    assert needs(positives="same_study", exclude="same_patient") == sorted([*both, "id.patient", "id.study"])
    assert needs(text="text.impression") == ["image/embedding", "text.impression", "text.impression/embedding"]
    late = needs(positives="own", score="late_interaction")
    assert all(key.split("/")[0] in ("image", "text") for key in late)
    assert late != both


def test_gradients_are_the_derivatives():
    batch = Batch.of({"text": ["a", "b", "a", "c"]})

    def total(image, text):
        ctx = context(unit(image), unit(text), batch)
        return value(Clip(reading="each", label_smoothing=0.1), ctx) + value(Siglip(), ctx)

    raw = [rows(4, seed).requires_grad_() for seed in (0, 1)]
    assert torch.autograd.gradcheck(total, raw)


def test_two_learned_scores_learn_what_each_learns_alone():
    """A score with parameters is its objective's own, though another's has the same options."""
    sizes = {"width": 4, "layers": 1, "heads": 2, "feedforward": 8, "hidden": [6], "dropout": 0.0}
    torch.manual_seed(0)
    first, second = (
        build("objectives", {"name": "clip", "score": {"name": "cross_decoder", **sizes}}, where="x") for _ in range(2)
    )
    parts = {f"{view}/{part}": torch.randn(3, *size) for view in ("image", "text") for part, size in TOKENS.items()}

    def learned(*before: torch.nn.Module) -> tuple[Tensor, list[Tensor]]:
        ctx = Context.of(parts, {"text": list("abc")})
        for objective in before:
            objective(ctx)
        loss = value(second, ctx)
        return loss, list(torch.autograd.grad(loss, list(second.parameters())))

    torch.testing.assert_close(learned(first), learned())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"label_smoothing": 1.0}, r"x.label_smoothing is 1.0: input should be less than 1"),
        ({"score": "dto"}, r"no models/scores component named 'dto': did you mean 'dot'\?"),
        ({"positives": "same"}, "x.positives is 'same': input should be 'own', 'same_study', 'same_report'"),
        ({"exclude": "own"}, "x.exclude is 'own': input should be 'none'"),
        ({"reading": "all"}, "x.reading is 'all': input should be 'shared', 'any' or 'each'"),
        ({"smoothing": 0.1}, r"x.smoothing is not a known key: did you mean 'label_smoothing'\?"),
    ],
)
def test_what_clip_refuses(options, sentence):
    with pytest.raises(UserError, match=sentence):
        build("objectives", {"name": "clip", **options}, where="x")


def test_a_field_that_the_batch_lacks_is_named():
    image, text = rows(2, 0), rows(2, 1)
    with pytest.raises(ConfigError, match=r"ctx.same needs field 'id.patient'"):
        Clip(exclude="same_patient")(context(image, text, Batch.of({"text": ["a", "b"]})))


def test_siglip_without_a_bias_is_refused_where_the_model_is_known():
    given = {"model": dual(DUAL)}
    with pytest.raises(
        ConfigError, match=r"needs a logit scale with a bias.*write model.scale: {init: 10.0, bias: -10.0}"
    ):
        build("objectives", {"name": "siglip"}, where="x", given=given)
    given = {"model": dual(DUAL, scale={"init": 10.0, "bias": -10.0})}
    assert build("objectives", {"name": "siglip"}, where="x", given=given).text == "text"
