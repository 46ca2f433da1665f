from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core import Batch
from medvlp.core.encoded import unit
from medvlp.objectives.clip import Clip
from medvlp.objectives.gloria import Gloria
from tests.objectives.local import context, draw, real, total
from tests.objectives.test_clip import context as pooled
from tests.objectives.test_clip import value as clip_value
from tests.objectives.world import rows

WORDS = ["a", "b", "c", "d"]


def world() -> dict[str, Tensor]:
    return {
        "image/local": draw(4, 5, 3, seed=0),
        "image/mask": real(5, 5, 4, 2),
        "text/local": draw(4, 6, 3, seed=1),
        "text/mask": real(6, 2, 1, 4),
    }


def fit(regions: Tensor, words: Tensor, *, attention: float = 4.0, sharp: float = 5.0) -> float:
    """Z of one image and one report, by loops over their real tokens."""
    found = 0.0
    for word in words:
        share = torch.stack([(other @ regions.T).exp() for other in words])
        share = (word @ regions.T).exp() / share.sum(0)  # of a region, to this word among all
        weight = (attention * share).exp() / (attention * share).exp().sum()
        seen = sum(w * region for w, region in zip(weight, regions, strict=True))
        found += math.exp(sharp * float(seen @ word / (seen.norm() * word.norm())))
    return math.log(found)


def matrix(parts: dict[str, Tensor], **options: float) -> Tensor:
    image, text = ((parts[f"{v}/local"], parts[f"{v}/mask"]) for v in ("image", "text"))
    scores = [[fit(v[m], w[k], **options) for w, k in zip(*text, strict=True)] for v, m in zip(*image, strict=True)]
    return torch.tensor(scores, dtype=torch.float64)


def both(z: Tensor) -> Tensor:
    diagonal = torch.arange(len(z))
    return (F.cross_entropy(z, diagonal) + F.cross_entropy(z.T, diagonal)) / 2


def test_it_is_the_loop_over_images_reports_and_words():
    got = total(Gloria(), context(world(), WORDS))
    torch.testing.assert_close(got, both(10 * matrix(world())), rtol=1e-9, atol=1e-12)
    got = total(Gloria(attention=2, words=3, scale=4), context(world(), WORDS))
    torch.testing.assert_close(got, both(4 * matrix(world(), attention=2, sharp=3)), rtol=1e-9, atol=1e-12)


def test_words_compete_for_a_region_before_regions_do_for_a_word():
    """Without the inner softmax, which the paper's equations do not show and its code has, the value is another."""
    parts = world()
    image, text = ((parts[f"{v}/local"], parts[f"{v}/mask"]) for v in ("image", "text"))
    plain = torch.zeros(4, 4, dtype=torch.float64)
    for i, (v, m) in enumerate(zip(*image, strict=True)):
        for j, (w, k) in enumerate(zip(*text, strict=True)):
            seen = (4 * w[k] @ v[m].T).softmax(1) @ v[m]
            plain[i, j] = (5 * (unit(seen) * unit(w[k])).sum(1)).logsumexp(0)
    assert abs(total(Gloria(), context(parts, WORDS)) - both(10 * plain)) > 0.01


def test_the_mean_takes_the_length_of_a_report_out_of_its_fit():
    """A report twice over fits every image by log 2 better, and by nothing where words are averaged."""
    parts = world()
    twice = {**parts, "text/local": parts["text/local"].clone(), "text/mask": parts["text/mask"].clone()}
    twice["text/local"][1, 2:4] = parts["text/local"][1, :2]
    twice["text/mask"][1, :4] = True
    # the inner softmax halves each word's share, so regions are shared a little more evenly; without it, exactly
    flat = {"attention": 1e-9}
    z, again = (matrix(p, **flat) for p in (parts, twice))
    torch.testing.assert_close(again[:, 1], z[:, 1] + math.log(2))
    by_sum, by_mean = (
        [total(Gloria(**flat, aggregate=a), context(p, WORDS)) for p in (parts, twice)] for a in ("sum", "mean")
    )
    assert abs(by_sum[0] - by_sum[1]) > 0.01
    torch.testing.assert_close(by_mean[0], by_mean[1])


def test_with_one_token_a_side_it_is_clip_at_the_product_of_its_scales():
    image, text = rows(4, 0), rows(4, 1)
    one = torch.ones(4, 1, dtype=torch.bool)
    parts = {"image/local": image[:, None], "image/mask": one, "text/local": text[:, None], "text/mask": one}
    expected = clip_value(Clip(), pooled(image, text, Batch.of({"text": WORDS}), scale=50.0))
    torch.testing.assert_close(total(Gloria(), context(parts, WORDS)), expected, rtol=1e-12, atol=1e-12)


def test_padding_order_and_tiles_change_neither_value_nor_gradient():
    expected, gradients = None, None
    for tile, order, more in ((2**22, [0, 1, 2, 3, 4], 0), (1, [0, 1, 2, 3, 4], 0), (60, [1, 0, 2, 3, 4], 3)):
        parts = world()
        parts["image/mask"] = real(5, 5, 4, 2)[:, order]
        parts["image/local"] = parts["image/local"][:, order]
        parts["text/local"] = torch.cat([parts["text/local"], 9 * draw(4, more, 3, seed=5)], dim=1)
        parts["text/mask"] = torch.cat([parts["text/mask"], torch.zeros(4, more, dtype=torch.bool)], dim=1)
        leaf = parts["text/local"].requires_grad_()
        got = total(Gloria(tile=tile), context(parts, WORDS))
        got.backward()
        assert leaf.grad is not None
        expected, gradients = (got, leaf.grad) if expected is None else (expected, gradients)
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(leaf.grad[:, :6], gradients[:, :6], rtol=1e-9, atol=1e-12)
        assert not leaf.grad[:, 6:].any()


def test_equal_reports_are_no_negatives_and_a_report_without_words_fits_nothing():
    z = 10 * matrix(world())
    target = torch.tensor([[0.5, 0, 0.5, 0], [0, 1, 0, 0], [0.5, 0, 0.5, 0], [0, 0, 0, 1]], dtype=torch.float64)
    expected = -(target * z.log_softmax(1)).sum(1).mean() / 2 - (target * z.T.log_softmax(1)).sum(1).mean() / 2
    got = total(Gloria(), context(world(), ["a", "b", "A ", "d"]))
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)
    parts = world()
    parts["text/mask"][2] = False
    leaf = parts["image/local"].requires_grad_()
    silent = total(Gloria(), context(parts, WORDS))
    z[:, 2] = 0
    torch.testing.assert_close(silent, both(z), rtol=1e-9, atol=1e-12)
    silent.backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()


def test_it_needs_projected_tokens_and_the_fields_of_its_relations():
    assert sorted(map(str, Gloria(positives="own", exclude="same_patient").needs())) == [
        *("id.patient", "image/local", "image/mask", "text/local", "text/mask")
    ]
    assert Gloria(exclude="true_of").data_views() == ({"name": "facts", "field": "text"},)
