"""The losses of open_clip and lightly have the values and the gradients of ours, on the same rows.

What they release holds no tests of their losses, so their classes stand here themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from medvlp.core import Batch, Context, Part
from medvlp.core.keys import parse_key
from medvlp.models.heads.prototypes import Prototypes
from medvlp.models.scale import LogitScale
from medvlp.objectives.clip import Clip
from medvlp.objectives.dcl import Dcl
from medvlp.objectives.gopro import GOProLoss
from medvlp.objectives.siglip import Siglip
from medvlp.objectives.swav import Swav

ROWS, WIDTH, TEMPERATURE = 24, 16, 0.1


def rows(count: int) -> list[Tensor]:
    draws = torch.Generator().manual_seed(count)
    return [torch.randn(ROWS, WIDTH, generator=draws, dtype=torch.float64).requires_grad_() for _ in range(count)]


def ours(
    objective: nn.Module,
    values: Mapping[str, Tensor],
    scale: LogitScale,
    *,
    heads: Mapping[str, nn.Module] | None = None,
    term: str | None = None,
) -> Tensor:
    owner = torch.arange(ROWS)
    parts = {parse_key(key): Part(each, owner) for key, each in values.items()}
    batch = Batch.of({"text": [f"report {i}" for i in range(ROWS)], "number.case": owner.float()})
    terms = objective(Context(parts=parts, batch=batch, scale=scale, heads=dict(heads or {})))
    return torch.stack([each.value() for name, each in terms.items() if term in (None, name)]).sum()


def equal(mine: Tensor, theirs: Tensor, inputs: Sequence[Tensor]) -> None:
    torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-7)
    for found, wanted in zip(*(torch.autograd.grad(each, inputs) for each in (mine, theirs)), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-8)


def of_own_unit_rows(loss: Callable[..., Tensor], given: Sequence[Tensor]) -> Tensor:
    return loss(*(normalize(each, dim=1) for each in given))


def test_clip_is_open_clips() -> None:
    peer = pytest.importorskip("open_clip.loss", reason="open_clip, a peer of the extra `bench`")
    scale, given = LogitScale(init=14.28).double(), rows(2)

    def mine(image: Tensor, text: Tensor) -> Tensor:
        return ours(Clip(), {"image/embedding": image, "text/embedding": text}, scale)

    def theirs(image: Tensor, text: Tensor) -> Tensor:
        return peer.ClipLoss()(image, text, scale.value[0])

    equal(of_own_unit_rows(mine, given), of_own_unit_rows(theirs, given), [*given, scale.log_scale])


def test_siglip_is_open_clips() -> None:
    peer = pytest.importorskip("open_clip.loss", reason="open_clip, a peer of the extra `bench`")
    scale, given = LogitScale(init=10.0, bias=-10.0).double(), rows(2)

    def mine(image: Tensor, text: Tensor) -> Tensor:
        return ours(Siglip(), {"image/embedding": image, "text/embedding": text}, scale)

    def theirs(image: Tensor, text: Tensor) -> Tensor:
        return peer.SigLipLoss()(image, text, scale.value[0], scale.bias[0])

    equal(of_own_unit_rows(mine, given), of_own_unit_rows(theirs, given), [*given, *scale.parameters()])


def test_contrast_of_two_views_is_lightlys_nt_xent_and_dcl() -> None:
    peer = pytest.importorskip("lightly.loss", reason="lightly, a peer of the extra `bench`")
    scale, given = LogitScale(init=1 / TEMPERATURE).double().requires_grad_(False), rows(2)
    views = ("image", "image.strong")
    texts = {f"{view}/findings_texts": torch.zeros(ROWS, 1, 1) for view in (*views, "image.mixed")}
    simclr = GOProLoss(strong=views[1], simclr=1.0, temperature=TEMPERATURE)
    named = {f"{view}/gopro": each for view, each in zip(views, given, strict=True)}
    mine = ours(simclr, {**named, **texts}, scale, term="simclr")
    equal(mine, peer.NTXentLoss(temperature=TEMPERATURE)(*given), given)
    dcl = Dcl(image=views[0], text=views[1], positives="own", sigma=None, within=True)

    def decoupled(*two: Tensor) -> Tensor:
        return ours(dcl, {f"{view}/embedding": each for view, each in zip(views, two, strict=True)}, scale)

    equal(of_own_unit_rows(decoupled, given), peer.DCLLoss(temperature=TEMPERATURE)(*given), given)


def test_swapped_prediction_is_lightlys_swav() -> None:
    peer = pytest.importorskip("lightly.loss", reason="lightly, a peer of the extra `bench`")
    crops = ("image.large", "image.other", "image.local0", "image.local1")
    scale, given = LogitScale(init=1 / TEMPERATURE).double().requires_grad_(False), rows(len(crops))
    head = Prototypes(embed_dim=WIDTH, prototypes=30).double()
    swav = Swav(assigners=crops[:2], predictors=crops[2:], prototypes=30, temperature=TEMPERATURE)
    named = {f"{crop}/swav_rows": each for crop, each in zip(crops, given, strict=True)}
    scores = [normalize(each, dim=1) @ head.weight.T for each in given]
    theirs = peer.SwaVLoss(temperature=TEMPERATURE)(scores[:2], scores[2:]).sum()
    equal(ours(swav, named, scale, heads={"swav": head}), theirs, [*given, head.weight])
