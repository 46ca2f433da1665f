from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core import Batch
from medvlp.core.encoded import unit
from medvlp.objectives.clip import Clip
from medvlp.objectives.dreamlip import Dreamlip, grouping
from tests.objectives.local import context, draw, real, total
from tests.objectives.test_clip import context as pooled
from tests.objectives.test_clip import value as clip_value
from tests.objectives.world import rows

OWNER = [0, 0, 1, 1, 2, 2]
WORDS = list("abcdef")


def world() -> dict[str, Tensor]:
    return {
        "image/local": draw(3, 4, 5, seed=0),
        "image/mask": real(4, 4, 2),
        "text/embedding": unit(draw(6, 5, seed=1)),
    }


def regions(parts: dict[str, Tensor], owner: list[int], threshold: float = 0.0) -> Tensor:
    """The grouped region of each sentence, by loops."""
    found = []
    for sentence, sample in zip(parts["text/embedding"], owner, strict=True):
        patches = unit(parts["image/local"][sample, parts["image/mask"][sample]])
        near = patches @ sentence
        weight = (near - near.min()) / (near.max() - near.min())
        weight = torch.tensor([float(w) if w >= threshold else 0.0 for w in weight], dtype=torch.float64)
        found.append(unit(sum(w / weight.sum() * p for w, p in zip(weight, patches, strict=True))))
    return torch.stack(found)


def test_weights_are_a_distribution_that_is_0_below_the_threshold():
    similarity, mask = draw(7, 9, seed=3), real(9, 9, 5, 3, 2, 7, 1)
    for threshold in (0.0, 0.4, None):
        weight = grouping(similarity, mask, threshold)
        assert (weight >= 0).all()
        torch.testing.assert_close(weight.sum(1), torch.ones(7, dtype=torch.float64))
        assert not weight[~mask].any()
        for row in range(7):
            near = similarity[row, mask[row]]
            least = 1 / len(near) if threshold is None else threshold
            below = (near - near.min()) / (near.max() - near.min()).clamp(min=1e-12) < least
            assert len(near) == 1 or not weight[row, mask[row]][below].any()


def test_of_equal_patches_all_are_taken_and_of_none_none():
    torch.testing.assert_close(grouping(torch.full((1, 4), 0.3), real(4)), torch.full((1, 4), 0.25))
    leaf = torch.zeros(2, 3, requires_grad=True)
    weight = grouping(leaf, torch.zeros(2, 3, dtype=torch.bool))
    assert not weight.any()
    weight.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_it_is_the_loop_over_sentences_and_patches(threshold):
    parts = world()
    z = 10 * parts["text/embedding"] @ regions(parts, OWNER, threshold).T
    diagonal = torch.arange(6)
    expected = (F.cross_entropy(z, diagonal) + F.cross_entropy(z.T, diagonal)) / 2
    got = total(Dreamlip(threshold=threshold), context(parts, WORDS, owner=OWNER))
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)


def test_rows_belong_to_the_image_that_owns_them_however_they_lie():
    """The published code stacks sentences text by text and reads them image by image, which mixes the samples."""
    parts = world()
    expected = total(Dreamlip(), context(parts, WORDS, owner=OWNER))
    order = [0, 2, 4, 1, 3, 5]
    by_text = {**parts, "text/embedding": parts["text/embedding"][order]}
    moved = [OWNER[i] for i in order]
    got = total(Dreamlip(), context(by_text, [WORDS[i] for i in order], owner=moved))
    torch.testing.assert_close(got, expected)
    mixed = total(Dreamlip(), context(by_text, [WORDS[i] for i in order], owner=OWNER))
    assert abs(mixed - expected) > 0.01


def test_the_order_of_a_samples_sentences_changes_neither_part():
    parts, order = world(), [1, 0, 2, 3, 5, 4]
    turned = {**parts, "text/embedding": parts["text/embedding"][order]}
    got, expected = (total(Dreamlip(), context(p, WORDS, owner=OWNER)) for p in (turned, parts))
    torch.testing.assert_close(got, expected)
    image = rows(3, 4)
    for reading in ("each", "shared"):
        values = []
        for text, words in ((rows(6, 5), WORDS), (rows(6, 5)[order], [WORDS[i] for i in order])):
            given = {"image/embedding": image, "text/embedding": text}
            values.append(total(Clip(reading=reading, positives="own"), context(given, words, owner=OWNER)))
        torch.testing.assert_close(*values)


def test_with_the_report_alone_the_global_part_is_clip_and_of_images_of_one_patch_the_local_part_too():
    image, text = rows(4, 0), rows(4, 1)
    whole = pooled(image, text, Batch.of({"text": list("abcd")}))
    expected = clip_value(Clip(), whole)
    torch.testing.assert_close(clip_value(Clip(reading="each"), whole), expected)
    one = {"image/local": image[:, None], "image/mask": real(1, 1, 1, 1), "text/embedding": text}
    torch.testing.assert_close(total(Dreamlip(), context(one, list("abcd"))), expected, rtol=1e-12, atol=1e-12)


def test_an_equal_sentence_of_another_image_is_left_out_and_one_of_its_own_is_not():
    parts = world()
    words = ["no effusion", "x", "No  effusion", "x2", "y", "y"]
    z = 10 * parts["text/embedding"] @ regions(parts, OWNER).T
    z[0, 2] = z[2, 0] = float("-inf")
    diagonal = torch.arange(6)
    expected = (F.cross_entropy(z, diagonal) + F.cross_entropy(z.T, diagonal)) / 2
    # excluded pairs are symmetric, so the second direction leaves out the same ones
    got = total(Dreamlip(), context(parts, words, owner=OWNER))
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)


def test_a_sentence_without_image_is_neither_row_nor_negative():
    parts = world()
    parts["image/local"], parts["image/mask"] = parts["image/local"][:2], parts["image/mask"][:2]
    leaf = parts["image/local"].requires_grad_()
    terms = Dreamlip()(context(parts, WORDS, owner=[0, 0, 1, 1, -1, -1]))
    some = {**parts, "text/embedding": parts["text/embedding"][:4]}
    alone = Dreamlip()(context(some, WORDS[:4], owner=[0, 0, 1, 1]))
    for name, term in terms.items():
        assert term.count.item() == 4
        torch.testing.assert_close(term.value(), alone[name].value())
    sum(term.value() for term in terms.values()).backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()
