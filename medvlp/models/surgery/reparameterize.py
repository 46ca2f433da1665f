"""Folding the branches that a convolution was trained with into one: smaller and faster, the same outputs."""

from __future__ import annotations

import torch
from timm.layers import freeze_batch_norm_2d, unfreeze_batch_norm_2d
from timm.layers.norm_act import FrozenBatchNormAct2d
from timm.utils import reparameterize_model
from torch import nn
from torchvision.ops.misc import FrozenBatchNorm2d

from medvlp.core.errors import ConfigError
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.encoders.timm import TimmEncoder
from medvlp.models.surgery._blocks import tower_of

_FOLDS = ("fuse", "reparameterize", "switch_to_deploy")  # by which timm's modules offer it
_FROZEN = (FrozenBatchNormAct2d, FrozenBatchNorm2d)


class Reparameterize:
    r"""Fold branches and their BatchNorms: W = sum_b (g_b / s_b) W_b, bias = sum_b (beta_b - m_b g_b / s_b).

    With running mean m, spread s = sqrt(var + eps), weight g and shift beta of each branch's BatchNorm; an identity is
    a kernel that is 1 in its middle. FastViT, the image tower of MobileCLIP (Vasu et al. 2024), MobileOne, RepVGG and
    others of timm are trained with branches and released without. The folded model gives in evaluation mode what it
    gave before, to rounding (1e-5). It is the last thing done to a model: what is trained on has neither branches nor
    their BatchNorms any more. ``medvlp convert BUNDLE --from operated --out SMALL 'surgery=[{name: reparameterize}]'``
    does it to a bundle; as surgery of a phase it is done before that phase's first step.

    Args:
        kind: of the tower; within it every backbone of timm is folded (of a `mof` both).

    Raises:
        ConfigError: by the call, without such a tower or anything to fold, with patches, or if BatchNorm was replaced.

    References:
        Ding et al. 2021 (RepVGG), section 3.3; Vasu et al. 2023 (FastViT) and 2024 (MobileCLIP). The folding is timm's;
        MobileCLIP's text tower with convolutions is not built here.

    Note:
        Measure the folded bundle again before release: thresholds that a score of 0.5 just passes are a matter of
        rounding. Only running statistics are folded: a tower whose BatchNorm never saw the clinic's films keeps that.
    """

    def __init__(self, *, kind: str = "image") -> None:
        self.kind = kind

    def __call__(self, model: TowerModel) -> None:
        """Change the model's tower."""
        tower = tower_of(model, self.kind, who="reparameterize")
        encoders = [module for module in tower.modules() if isinstance(module, TimmEncoder)]
        folding = [each for each in encoders if any(_folds(module) for module in each.backbone.modules())]
        if not folding:
            raise ConfigError(
                f"The {self.kind} tower has no branches to fold: reparameterize is for architectures of timm such as "
                "fastvit_t8, fastvit_mci0, mobileone_s0 or repvgg_a0, once."
            )
        learns = any(parameter.requires_grad for parameter in tower.parameters())
        for encoder in folding:
            _fold(encoder)
        if not learns:
            tower.requires_grad_(False)


def _folds(module: nn.Module) -> bool:
    """Whether a module still has branches."""
    return any(hasattr(type(module), name) for name in _FOLDS) and any(
        isinstance(child, (nn.BatchNorm2d, *_FROZEN)) for child in module.modules()
    )


@torch.no_grad()
def _fold(encoder: TimmEncoder) -> None:
    """Fold a backbone and see that it computes what it did."""
    training, seen = encoder.training, torch.rand_like(encoder.blank(encoder.mean.device), dtype=encoder.mean.dtype)
    encoder.eval()
    before = encoder(seen, parts=frozenset({"tokens", "pooled"}))
    frozen = any(isinstance(module, _FROZEN) for module in encoder.backbone.modules())
    plain = unfreeze_batch_norm_2d(encoder.backbone) if frozen else encoder.backbone
    try:
        folded = reparameterize_model(plain, inplace=True)
    except (AttributeError, AssertionError):
        raise ConfigError(
            f"timm's {encoder.architecture!r} folds its branches only where each ends in a BatchNorm: train it with "
            "norm keep or frozen."
        ) from None
    encoder.backbone = freeze_batch_norm_2d(folded) if frozen else folded
    encoder.eval()
    after = encoder(seen, parts=frozenset({"tokens", "pooled"}))
    encoder.train(training)
    for name in ("tokens", "pooled"):
        was, now = before.part(name), after.part(name)
        if not torch.allclose(now, was, rtol=1e-3, atol=1e-3 * float(was.abs().max())):
            raise ConfigError(
                f"timm's {encoder.architecture!r} computes something else once it is folded: leave out reparameterize."
            )
