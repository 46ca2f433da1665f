"""CLIP-rocket's recipe, and the four terms that its paper adds to it: SiamLIP, BYOLIP, BarLIP, SwALIP."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cosine_similarity, cross_entropy

from medvlp.core import Batch, ConfigError, Context, Part
from medvlp.core.keys import parse_key
from medvlp.objectives import sinkhorn
from medvlp.objectives.barlip import BarLip
from medvlp.objectives.byolip import ByoLip
from medvlp.objectives.clip import Clip
from medvlp.objectives.clip_rocket import ClipRocket
from medvlp.objectives.siamlip import SiamLip
from medvlp.objectives.swalip import SwaLip
from tests.objectives.world import Scale, rows

SAMPLES, WIDTH = 5, 6


def context(parts, owners=None, *, samples=SAMPLES, texts=None) -> Context:
    owners = owners or {}
    made = {
        parse_key(key): Part(values, torch.tensor(owners.get(key, range(len(values))))) for key, values in parts.items()
    }
    batch = Batch.of({"text": texts or [f"report {i}" for i in range(samples)]})
    return Context(parts=made, batch=batch, scale=Scale())


def total(terms) -> torch.Tensor:
    return sum(term.value() for term in terms.values())


# CLIP-rocket --------------------------------------------------------------------------------------------------------


def plain(seed: int = 0) -> dict[str, torch.Tensor]:
    return {"image/embedding": rows(SAMPLES, seed), "text/embedding": rows(SAMPLES, seed + 1)}


def test_without_strong_views_it_is_clip():
    ctx = context(plain())
    bare = ClipRocket(images=[], texts=[])
    assert {name: term.value() for name, term in bare(ctx).items()} == {
        name: term.value() for name, term in Clip()(ctx).items()
    }
    assert not bare.heads()
    assert not list(bare.parameters())


def test_strong_views_like_the_plain_ones_are_clip():
    """No smoothing and one scale: a mean of equal losses. Without a bias, as the strong views have none."""
    parts = plain()
    for view in ("image.strong", "image.second", "text.strong", "text.second"):
        parts[f"{view}/rocket"] = 3 * parts[f"{view.partition('.')[0]}/embedding"]
    ctx = context(parts)
    with torch.no_grad():
        ctx.scale.bias.zero_()
    scale = float(ctx.scale.log.detach().exp())
    rocket = ClipRocket(label_smoothing=0.0, scale=scale).double()
    torch.testing.assert_close(total(rocket(ctx)), total(Clip()(ctx)), rtol=1e-7, atol=0)


def test_it_is_the_papers_mean_of_one_plain_and_four_strong_losses():
    parts = plain() | {
        f"{k}.{r}/rocket": rows(SAMPLES, 10 * i + j)
        for i, k in enumerate(("image", "text"), 3)
        for j, r in enumerate(("strong", "second"))
    }
    ctx, own = context(parts), torch.arange(SAMPLES)
    rocket = ClipRocket(label_smoothing=0.1, scale=10.0).double()
    strong = 0.0
    for i in ("strong", "second"):
        for t in ("strong", "second"):
            z = 10 * parts[f"image.{i}/rocket"] @ parts[f"text.{t}/rocket"].T
            both = cross_entropy(z, own, label_smoothing=0.1) + cross_entropy(z.T, own, label_smoothing=0.1)
            strong += both / 2 / 4
    want = (total(Clip()(ctx)) + 2 * strong) / 3
    torch.testing.assert_close(total(rocket(ctx)), want, rtol=1e-6, atol=0)  # the scale is stored in float32


def test_equal_reports_are_positives_of_strong_views_too():
    parts = plain() | {"image.strong/rocket": rows(SAMPLES, 3), "text.strong/rocket": rows(SAMPLES, 4)}
    rocket = ClipRocket(images=["image.strong"], texts=["text.strong"], label_smoothing=0.0, scale=10.0).double()
    texts = ["a", "b", "A ", "c", "d"]
    term = rocket(context(parts, texts=texts))["image.strong_to_text.strong"]
    target = torch.eye(SAMPLES, dtype=torch.float64)
    target[0, 2] = target[2, 0] = 1
    z = 10 * parts["image.strong/rocket"] @ parts["text.strong/rocket"].T
    want = -(target / target.sum(1, keepdim=True) * z.log_softmax(1)).sum(1).mean() / 2 / 2
    torch.testing.assert_close(term.value(), want, rtol=1e-6, atol=0)


def test_unequal_numbers_of_views_are_refused():
    with pytest.raises(ConfigError, match="has 2 strong images and 1 strong texts: name as many"):
        ClipRocket(texts=["text.strong"])


# SiamLIP and BYOLIP -------------------------------------------------------------------------------------------------


def siamese(kind: type[SiamLip], *, target: str) -> tuple[SiamLip, dict[str, torch.Tensor], torch.Tensor]:
    objective = kind(pairs=[["image", "text"], ["image.strong", "text.strong"]])
    parts = {str(key): rows(SAMPLES, n) * (n + 1) for n, key in enumerate(sorted(objective.needs())) if key.part}
    each = []
    for a, b in (("image", "text"), ("image.strong", "text.strong")):
        for x, y in ((a, b), (b, a)):
            predicted, projected = parts[f"{x}/{objective.head}_predicted"], parts[f"{target}{y}/{objective.head}"]
            each.append((2 - 2 * cosine_similarity(predicted, projected, dim=1)).mean())
    return objective, parts, sum(each) / 4


@pytest.mark.parametrize(("kind", "target"), [(SiamLip, ""), (ByoLip, "ema:")])
def test_it_is_the_mean_distance_of_predictions_to_projections(kind, target):
    objective, parts, want = siamese(kind, target=target)
    got = total(objective(context(parts)))
    torch.testing.assert_close(got, want)
    assert 0 <= got <= 4
    for values in parts.values():
        values.requires_grad_()
    total(objective(context(parts))).backward()
    for key, values in parts.items():
        assert (values.grad is not None) == key.endswith("_predicted"), "projections stand still as targets"


def test_equal_rows_are_0_and_opposite_ones_4():
    z = rows(SAMPLES, 0)
    for sign, want in ((1, 0.0), (-1, 4.0)):
        parts = {f"{view}/siamlip": z for view in ("image", "text")}
        parts |= {f"{view}/siamlip_predicted": sign * z for view in ("image", "text")}
        assert total(SiamLip()(context(parts))).item() == pytest.approx(want, abs=1e-12)


def test_several_rows_and_missing_ones_meet_their_own_sample():
    parts = {
        f"{view}/{part}": rows(3, n)
        for n, (view, part) in enumerate(
            (view, part) for view in ("image", "text") for part in ("siamlip", "siamlip_predicted")
        )
    }
    owners = {key: [0, 1, 1] if key.startswith("text") else [0, 1, 2] for key in parts}
    terms = SiamLip()(context(parts, owners, samples=3))
    pairs = [(0, 0), (1, 1), (1, 2)]
    want = sum(2 - 2 * float(parts["image/siamlip_predicted"][i] @ parts["text/siamlip"][t]) for i, t in pairs)
    assert (terms["image_to_text"].count.item(), terms["text_to_image"].count.item()) == (3, 3)
    assert terms["image_to_text"].sum.item() * 2 == pytest.approx(want)
    # Two crops of one picture against each other, none against itself.
    crops = {f"image/{part}": rows(3, n) for n, part in enumerate(("siamlip", "siamlip_predicted"))}
    alike = {key: [0, 0, 1] for key in crops}
    (term,) = SiamLip(pairs=[["image", "image"]])(context(crops, alike, samples=2)).values()
    a, b = crops["image/siamlip_predicted"], crops["image/siamlip"]
    assert term.count == 2
    torch.testing.assert_close(term.sum, 4 - 2 * (a[0] @ b[1] + a[1] @ b[0]))


# BarLIP -------------------------------------------------------------------------------------------------------------


def barlip(image, text, **options) -> float:
    parts = {"image/barlip": image, "text/barlip": text}
    return float(BarLip(**options)(context(parts, samples=len(image)))["image_and_text"].value())


def test_unrelated_equal_features_cost_nothing_and_constant_ones_all():
    """0 at C = 1, scale D at C = 0; the 1e-5 of the variance is seen in the sixth place."""
    corner = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 4) * 3 + 1
    assert barlip(corner, corner) == pytest.approx(0, abs=1e-8)
    assert barlip(corner, torch.ones_like(corner)) == pytest.approx(0.025 * 4, rel=1e-9)


def test_it_is_the_loop_over_correlations():
    image, text = rows(9, 0), 2 * rows(9, 1) + 1
    want = 0.0
    for i in range(WIDTH):
        for j in range(WIDTH):
            a, b = image[:, i], text[:, j]
            c = ((a - a.mean()) * (b - b.mean())).mean() / (
                (a.var(correction=0) + 1e-5) * (b.var(correction=0) + 1e-5)
            ) ** 0.5
            want += float((1 - c) ** 2 if i == j else 0.3 * c**2)
    assert barlip(image, text, off=0.3, scale=0.5) == pytest.approx(0.5 * want, rel=1e-9)


def test_of_several_pairs_of_views_it_is_the_mean():
    views = ("image", "text", "image.strong", "text.strong")
    image, text, strong, other = (rows(9, n) for n in range(4))
    parts = {f"{view}/barlip": z for view, z in zip(views, (image, text, strong, other), strict=True)}
    terms = BarLip(pairs=[views[:2], views[2:]])(context(parts, samples=9))
    assert total(terms).item() == pytest.approx((barlip(image, text) + barlip(strong, other)) / 2, rel=1e-12)


def test_a_step_of_one_pair_says_nothing():
    image = rows(1, 0).requires_grad_()
    term = BarLip()(context({"image/barlip": image, "text/barlip": rows(1, 1)}, samples=1))["image_and_text"]
    term.sum.backward()
    assert (term.sum.item(), term.count.item(), image.grad.abs().max().item()) == (0, 0, 0)


# SwALIP -------------------------------------------------------------------------------------------------------------


def swapped() -> dict[str, torch.Tensor]:
    views = ("image.strong", "image.second", "text.strong", "text.second")
    return {f"{view}/embedding": rows(SAMPLES, n) for n, view in enumerate(views)}


def test_the_target_of_a_pair_is_the_assignment_of_the_other_views():
    parts = swapped()
    ctx = context(parts)
    other = {"strong": "second", "second": "strong"}
    want = 0.0
    for i in other:
        for t in other:
            z = ctx.scale(parts[f"image.{i}/embedding"] @ parts[f"text.{t}/embedding"].T)
            s = parts[f"image.{other[i]}/embedding"] @ parts[f"text.{other[t]}/embedding"].T
            for logits, scores in ((z, s), (z.T, s.T)):
                code = sinkhorn(scores, epsilon=0.05)
                torch.testing.assert_close(code.sum(1), torch.ones(SAMPLES, dtype=torch.float64))
                want -= (code * logits.log_softmax(1)).sum(1).mean() / 8
    torch.testing.assert_close(total(SwaLip()(ctx)), want)


def test_sure_assignments_of_separate_samples_make_it_clip():
    """Where every view knows its own report the codes are one-hot, and all views alike give CLIP's loss."""
    eye = torch.eye(SAMPLES, WIDTH, dtype=torch.float64)
    ctx = context(dict.fromkeys(swapped(), eye) | {"image/embedding": eye, "text/embedding": eye})
    torch.testing.assert_close(total(SwaLip(epsilon=0.01)(ctx)), total(Clip()(ctx)))


def test_codes_are_constants():
    parts = swapped()
    parts["image.second/embedding"].requires_grad_()
    SwaLip()(context(parts))["image.strong_to_text.strong"].sum.backward()
    assert parts["image.second/embedding"].grad is None


def test_views_of_other_samples_and_other_numbers_of_views_are_refused():
    parts = swapped()
    owners = {"image.second/embedding": [0, 1, 2, 3, 3]}
    with pytest.raises(ConfigError, match=r"swaps 'image.second' and 'image.strong', and their rows are of different"):
        SwaLip()(context(parts, owners))
    for images, texts in ((["image"], ["text"]), (["image", "image"], ["text"]), (["image", "image.a"], [])):
        with pytest.raises(ConfigError, match="name two image views and one or two text views"):
            SwaLip(images=images, texts=texts)
