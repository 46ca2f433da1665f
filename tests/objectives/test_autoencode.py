from __future__ import annotations

import torch

from medvlp.core import Context
from medvlp.objectives.autoencode import Autoencode


def test_it_is_the_loop_over_pixels_and_images() -> None:
    """Nguyen et al. 2019 (MEVF): the mean over images of the mean over pixels of the squared difference."""
    draw = torch.Generator().manual_seed(0)
    drawn, gray = (torch.randn(3, 4, 5, generator=draw, dtype=torch.float64) for _ in range(2))
    drawn.requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for image in range(3):
        for row in range(4):
            for column in range(5):
                total = total + (drawn[image, row, column] - gray[image, row, column]) ** 2 / (3 * 4 * 5)
    rows = {"image/autoencoded_decoded": drawn, "image/autoencoded_gray": gray}
    term = Autoencode()(Context.of(rows, {"text": ["a", "b", "c"]}))["pixels"]
    assert term.count == 3  # images, so that chunks and processes of other sizes add up
    torch.testing.assert_close(term.value(), total)
    torch.testing.assert_close(*(torch.autograd.grad(value, drawn)[0] for value in (term.value(), total)))
