"""`contrast` against plain cross entropy over logits, as open_clip's ClipLoss has it: one JSON line.

    OMP_NUM_THREADS=1 python tests/benchmarks/contrast_speed.py

Same tensors, same process; value and gradients are asserted equal before anything is timed. open_clip's own class is
the peer where it can be imported, else the same few lines of torch. Forward and backward, both directions.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch
import torch.nn.functional as F
from _report import interleaved_ms, print_report
from torch import Tensor

from medvlp.objectives import Similarity, contrast

WIDTH, SCALE = 512, 14.28
SIZES = {128: 60, 512: 30, 2048: 6}  # rows -> repeats
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def ours(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """Two directions over indices, as the objective `clip` has them with distinct reports."""
    return _both(image, text, scale, torch.arange(len(image)))


def ours_same_report(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """The same over a mask of positives, as the objective has it by default."""
    return _both(image, text, scale, torch.eye(len(image), dtype=torch.bool))


def _both(image: Tensor, text: Tensor, scale: Tensor, target: Tensor) -> Tensor:
    sides = ((image, text), (text, image))
    return sum(contrast(Similarity(a, b, _dot, lambda s: scale * s), target).value() / 2 for a, b in sides)  # type: ignore[return-value]


def _dot(rows: Tensor, columns: Tensor) -> Tensor:
    return rows @ columns.T


def plain(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """Cross entropy of both directions' logits."""
    target = torch.arange(len(image))
    logits = scale * image @ text.T, scale * text @ image.T
    return (F.cross_entropy(logits[0], target) + F.cross_entropy(logits[1], target)) / 2


def peer() -> tuple[str, Loss]:
    """Return the peer's name and loss."""
    if importlib.util.find_spec("open_clip") is None:
        return "torch cross entropy (open_clip is not installed)", plain
    from open_clip.loss import ClipLoss

    loss = ClipLoss()
    return "open_clip ClipLoss", lambda image, text, scale: loss(image, text, scale)


def step(loss: Loss, inputs: list[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return value and gradients."""
    value = loss(*inputs)
    return value.detach(), torch.autograd.grad(value, inputs)


def main() -> None:
    """Check, measure and print."""
    name, theirs = peer()
    found = {}
    for rows, repeats in SIZES.items():
        draws = torch.Generator().manual_seed(rows)
        sides = [F.normalize(torch.randn(rows, WIDTH, generator=draws), dim=1).requires_grad_() for _ in range(2)]
        inputs = [*sides, torch.tensor(SCALE, requires_grad=True)]
        expected = step(theirs, inputs)
        works = {"contrast": ours, "contrast_same_report": ours_same_report, "peer": theirs}
        for loss in works.values():
            value, gradients = step(loss, inputs)
            torch.testing.assert_close(value, expected[0], rtol=1e-5, atol=1e-6)
            for gradient, wanted in zip(gradients, expected[1], strict=True):
                torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-6)
        ms = interleaved_ms({n: lambda w=w, i=inputs: step(w, i) for n, w in works.items()}, repeats=repeats)
        ratios = {f"{n}_over_peer": round(ms[n] / ms["peer"], 3) for n in works if n != "peer"}
        found[str(rows)] = {"ms": ms, **ratios}
    print_report("contrast_speed", n={"width": WIDTH}, packages=("torch",), peer=name, rows=found)


if __name__ == "__main__":
    main()
