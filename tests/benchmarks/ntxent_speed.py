"""NT-Xent, decoupled contrast and swapped prediction against lightly's losses: time and memory, one JSON line.

    OMP_NUM_THREADS=1 python tests/benchmarks/ntxent_speed.py [--rows 512 2048]

Ours are objectives as a task calls them (`gopro`'s term between two views, `dcl` with ``within``, `swav`), the peer's
its own classes on the same rows: two views of a picture, and for swapped prediction two large and six small crops
against prototypes, whose product with the rows is part of both. Value and gradients are asserted equal before anything
is timed; then both run forward and backward in turn, in one process, whose processor time is taken. Memory is what
torch holds at most beyond the inputs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from time import process_time

import torch
from _report import allocated_mib, interleaved, medians, over, print_report
from lightly.loss import DCLLoss, NTXentLoss, SwaVLoss
from torch import Tensor
from torch.nn.functional import normalize

from medvlp.core import Batch, Context, Part
from medvlp.core.keys import parse_key
from medvlp.models.heads.prototypes import Prototypes
from medvlp.models.scale import LogitScale
from medvlp.objectives.dcl import Dcl
from medvlp.objectives.gopro import GOProLoss
from medvlp.objectives.swav import Swav

WIDTH, PROTOTYPES, TEMPERATURE = 128, 3000, 0.1
VIEWS = ("image", "image.strong")
CROPS = ("image.large", "image.other", *(f"image.local{i}" for i in range(6)))
Loss = Callable[..., Tensor]


class Ours:
    """An objective on given rows of keys, as a task calls it.

    Args:
        objective: the objective.
        keys: of the rows that it is called with.
        term: of those that it returns; None: their sum.
        rest: rows of further keys.
        heads: by name.
    """

    def __init__(
        self,
        objective: torch.nn.Module,
        keys: Sequence[str],
        *,
        term: str | None = None,
        rest: dict[str, Tensor] | None = None,
        heads: dict[str, torch.nn.Module] | None = None,
    ) -> None:
        self.objective, self.keys, self.term = objective, keys, term
        self.rest, self.heads = rest or {}, heads or {}
        self.scale = LogitScale(init=1 / TEMPERATURE).requires_grad_(False)

    def __call__(self, *rows: Tensor) -> Tensor:
        """Return the loss."""
        owner = torch.arange(len(rows[0]))
        values = {**dict(zip(self.keys, rows, strict=False)), **self.rest}
        parts = {parse_key(key): Part(each, owner) for key, each in values.items()}
        batch = Batch.of({"number.case": owner.float()})
        terms = self.objective(Context(parts=parts, batch=batch, scale=self.scale, heads=self.heads))
        return torch.stack([term.value() for name, term in terms.items() if self.term in (None, name)]).sum()


def theirs_swapped(loss: SwaVLoss, prototypes: Tensor, *rows: Tensor) -> Tensor:
    """Return the peer's loss of crops, of which the first two are large."""
    scores = [normalize(each, dim=1) @ prototypes.T for each in rows]
    return loss(scores[:2], scores[2:])


def cases(batch: int) -> dict[str, tuple[Loss, Loss, list[Tensor]]]:
    """Return ours, the peer's and the inputs of each loss."""
    draws = torch.Generator().manual_seed(batch)
    rows = [torch.randn(batch, WIDTH, generator=draws).requires_grad_() for _ in CROPS]
    head = Prototypes(embed_dim=WIDTH, prototypes=PROTOTYPES)
    texts = {f"{view}/findings_texts": torch.zeros(batch, 1, 1) for view in (*VIEWS, "image.mixed")}
    simclr = GOProLoss(strong=VIEWS[1], simclr=1.0, temperature=TEMPERATURE)
    ntxent = Ours(simclr, [f"{view}/gopro" for view in VIEWS], term="simclr", rest=texts)
    dcl = Ours(
        Dcl(image=VIEWS[0], text=VIEWS[1], positives="own", sigma=None, within=True),
        [f"{view}/embedding" for view in VIEWS],
    )
    swav = Swav(assigners=CROPS[:2], predictors=CROPS[2:], prototypes=PROTOTYPES, temperature=TEMPERATURE)
    swapped = Ours(swav, [f"{view}/swav_rows" for view in CROPS], heads={"swav": head})
    return {
        "ntxent": (ntxent, NTXentLoss(temperature=TEMPERATURE), rows[:2]),
        "dcl": (lambda *r: dcl(*(normalize(each, dim=1) for each in r)), DCLLoss(temperature=TEMPERATURE), rows[:2]),
        "swav": (swapped, partial(theirs_swapped, SwaVLoss(temperature=TEMPERATURE), head.weight), rows),
    }


def both(loss: Loss, inputs: Sequence[Tensor], more: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return value and gradients."""
    value = loss(*inputs).sum()
    return value.detach(), torch.autograd.grad(value, [*inputs, *more])


def main() -> None:
    """Check, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[512, 2048])
    parser.add_argument("--only", nargs="+", default=["ntxent", "dcl", "swav"])
    arguments = parser.parse_args()
    found: dict[str, dict[str, object]] = {}
    for name in arguments.only:
        for rows in arguments.rows:
            ours, peer, inputs = cases(rows)[name]
            more = [ours.heads["swav"].weight] if isinstance(ours, Ours) and ours.heads else []
            works = {each: partial(both, loss, inputs, more) for each, loss in (("ours", ours), ("peer", peer))}
            (value, gradients), (expected, wanted) = works["ours"](), works["peer"]()
            torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
            for gradient, want in zip(gradients, wanted, strict=True):
                torch.testing.assert_close(gradient, want, rtol=1e-4, atol=1e-7)
            mib = {each: allocated_mib(work) for each, work in works.items()}
            times = interleaved(works, repeats=max(3, 2**12 // rows), clock=process_time)
            ratio = {"time": over(times, "ours", "peer"), "memory": round(mib["ours"] / mib["peer"], 3)}
            found[f"{name} {rows}"] = {"ms": medians(times), "mib": mib, "ours_over_peer": ratio}
    n = {"width": WIDTH, "prototypes": PROTOTYPES, "crops": len(CROPS)}
    print_report("ntxent_speed", n=n, packages=("torch", "lightly"), losses=found)


if __name__ == "__main__":
    main()
