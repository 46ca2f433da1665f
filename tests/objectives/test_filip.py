"""FILIP (Yao et al. 2022): `clip` by late interaction of tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core import Batch, Context, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.objectives.clip import Clip
from tests.objectives.test_clip import Times
from tests.objectives.world import rows

SCALE = 1 / 0.07


def tokens(seed: int, count: int, length: int) -> Tensor:
    return torch.randn(count, length, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def value(image: Tensor, text: Tensor, real: Tensor) -> Tensor:
    """The value of the objective for image tokens (B, N, D) and words (B, L, D) of which some are real."""
    owner = torch.arange(len(image))
    parts = {
        parse_key("image/local"): Part(image, owner),
        parse_key("image/mask"): Part(torch.ones(image.shape[:2], dtype=torch.bool), owner),
        parse_key("text/local"): Part(text, owner),
        parse_key("text/mask"): Part(real, owner),
    }
    ctx = Context(parts=parts, batch=Batch.of({"text": list("abcdefgh")[: len(image)]}), scale=Times(SCALE))
    objective = Clip(score="late_interaction", positives="own")
    assert objective.needs() == parts.keys()
    return torch.stack([term.value() for term in objective(ctx).values()]).sum()


def by_loops(image: Tensor, text: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Image-to-text and text-to-image scores (images, texts), padding in neither the maximum nor the mean."""
    count = len(image)
    to_text, to_image = torch.zeros(2, count, count, dtype=torch.float64)
    for b in range(count):
        for c in range(count):
            cosines = unit(image[b]) @ unit(text[c, real[c]]).T
            to_text[b, c], to_image[b, c] = cosines.max(1).values.mean(), cosines.max(0).values.mean()
    return to_text, to_image


def world() -> tuple[Tensor, Tensor, Tensor]:
    real = torch.arange(6)[None] < torch.tensor([[6], [2], [4], [1]])
    return tokens(0, 4, 5), tokens(1, 4, 6), real


def test_images_are_normalised_over_texts_and_texts_over_images() -> None:
    """A public implementation normalises both directions over images: its image-to-text value is not FILIP's."""
    image, text, real = world()
    to_text, to_image = (SCALE * scores for scores in by_loops(image, text, real))
    diagonal = torch.arange(4)
    expected = (F.cross_entropy(to_text, diagonal) + F.cross_entropy(to_image.T, diagonal)) / 2
    torch.testing.assert_close(value(image, text, real), expected, rtol=1e-10, atol=1e-12)
    over_images = (F.cross_entropy(to_text.T, diagonal) + F.cross_entropy(to_image.T, diagonal)) / 2
    assert (expected - over_images).abs() > 0.01


def test_with_one_token_a_side_it_is_clip() -> None:
    image, text = rows(4, 0), rows(4, 1)
    z, diagonal = SCALE * image @ text.T, torch.arange(4)
    expected = (F.cross_entropy(z, diagonal) + F.cross_entropy(z.T, diagonal)) / 2
    got = value(image[:, None], text[:, None], torch.ones(4, 1, dtype=torch.bool))
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_the_order_of_patches_and_added_padding_change_nothing() -> None:
    image, text, real = world()
    expected = value(image, text, real)
    torch.testing.assert_close(value(image[:, [4, 2, 0, 1, 3]], text, real), expected, rtol=1e-12, atol=1e-12)
    longer = torch.cat([text, tokens(2, 4, 3) * 9], dim=1)
    none = torch.zeros(4, 3, dtype=torch.bool)
    torch.testing.assert_close(value(image, longer, torch.cat([real, none], 1)), expected, rtol=1e-12, atol=1e-12)
