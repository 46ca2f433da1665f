"""The objective `clip` against open_clip's ClipLoss, whole and by tiles: time and memory, one JSON line.

    OMP_NUM_THREADS=1 python tests/benchmarks/contrast_speed.py [--rows 2048 8192] [--device cuda]

Same tensors, same process; value and gradients are asserted equal before anything is timed. Forward and backward, both
directions, distinct reports. The peer is open_clip's own class where it can be imported, else the same few lines of
torch. Memory is the peak above that of the inputs: of the resident set, which Linux tells, or on a GPU of what torch
holds there.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from _report import device_mib, interleaved, medians, over, print_report
from torch import Tensor

from medvlp.core import Batch, Context, Part
from medvlp.core.keys import parse_key
from medvlp.models.scale import LogitScale
from medvlp.objectives import _similarity
from medvlp.objectives.clip import Clip

WIDTH, SCALE = 512, 14.28
TILE = 2**22  # scores at a time of the tiled form: 16 MiB
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


class Ours:
    """The objective on rows, with as many distinct reports, in matrices of at most `entries` scores."""

    def __init__(self, rows: int, entries: int) -> None:
        self.batch = Batch.of({"text": [f"report {i}" for i in range(rows)]})
        self.entries = entries
        self.objective = Clip()
        self.scale = LogitScale(init=SCALE)  # on the rows' device at the first call

    def __call__(self, image: Tensor, text: Tensor, scale: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return value and gradients."""
        _similarity.TILE = self.entries
        self.scale.to(image.device)
        owner = torch.arange(len(image), device=image.device)
        parts = {parse_key("image/embedding"): Part(image, owner), parse_key("text/embedding"): Part(text, owner)}
        terms = self.objective(Context(parts=parts, batch=self.batch, scale=self.scale))
        value = torch.stack([term.value() for term in terms.values()]).sum()
        gradients = torch.autograd.grad(value, [image, text, self.scale.log_scale])
        return value.detach(), (*gradients[:2], gradients[2][0] / scale)  # of the scale, not of its logarithm


def plain(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """Cross entropy of both directions' logits."""
    target = torch.arange(len(image), device=image.device)
    logits = scale * image @ text.T, scale * text @ image.T
    return (F.cross_entropy(logits[0], target) + F.cross_entropy(logits[1], target)) / 2


def peer() -> tuple[str, Loss]:
    """Return the peer's name and loss."""
    if importlib.util.find_spec("open_clip") is None:
        return "torch cross entropy (open_clip is not installed)", plain
    from open_clip.loss import ClipLoss

    loss = ClipLoss()
    return "open_clip ClipLoss", lambda image, text, scale: loss(image, text, scale)


def theirs(loss: Loss, *inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return value and gradients."""
    value = loss(*inputs)
    return value.detach(), torch.autograd.grad(value, inputs)


def main() -> None:
    """Check, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[128, 512, 2048, 8192])
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    device = torch.device(asked.device)
    name, loss = peer()
    found = {}
    for rows in asked.rows:
        draws = torch.Generator().manual_seed(rows)
        sides = [F.normalize(torch.randn(rows, WIDTH, generator=draws), dim=1) for _ in range(2)]
        sides = [side.to(device).requires_grad_() for side in sides]
        inputs = [*sides, torch.tensor(SCALE, device=device, requires_grad=True)]
        works = {"dense": Ours(rows, rows * rows), "tiled": Ours(rows, TILE), "peer": partial(theirs, loss)}
        expected = works["peer"](*inputs)
        for work in works.values():
            value, gradients = work(*inputs)
            torch.testing.assert_close(value, expected[0], rtol=1e-5, atol=1e-6)
            for gradient, wanted in zip(gradients, expected[1], strict=True):
                torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-6)
        mib = {each: device_mib(partial(work, *inputs), device) for each, work in works.items()}
        runs = {each: partial(work, *inputs) for each, work in works.items()}
        times = interleaved(runs, repeats=max(5, 2**15 // rows))
        time = {f"{each}_over_peer": over(times, each, "peer") for each in ("dense", "tiled")}
        memory = {f"{each}_memory_over_peer": round(mib[each] / max(mib["peer"], 1), 3) for each in ("dense", "tiled")}
        found[str(rows)] = {"ms": medians(times), "mib": mib, **time, **memory}
    n = {"width": WIDTH, "tile": TILE}
    print_report("contrast_speed", n=n, packages=("torch",), peer=name, device=asked.device, rows=found)


if __name__ == "__main__":
    main()
