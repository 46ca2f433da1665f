"""A model with some of its image tower's weights drawn anew: what a map must not survive (Adebayo et al. 2018)."""

from __future__ import annotations

import copy

import torch
from torch import nn

from medvlp.core.protocols import Model
from medvlp.core.randomness import torch_generator


def randomised(model: Model, *, share: float = 1.0, seed: int = 0) -> Model:
    """Return a copy of which the topmost part of the image side has new weights.

    From the projection down, layer by layer, every parameter is drawn from a normal distribution with its own mean and
    standard deviation: signals keep their size and only what was learned is gone. BatchNorm's running statistics stay.

    Args:
        model: left as it is.
        share: of the image side's layers that have weights of their own, in (0, 1].
        seed: of the draws; the draws of a layer do not depend on `share`.
    """
    made = copy.deepcopy(model)
    layers = _image_layers(made)
    count = max(1, round(share * len(layers)))
    with torch.no_grad():
        for at, layer in enumerate(layers[:count]):
            for name, parameter in layer.named_parameters(recurse=False):
                generator = torch_generator(seed, at, f"randomised/{name}")
                deviation = parameter.float().std(correction=0)
                draw = torch.randn(parameter.shape, generator=generator).to(parameter)
                parameter.copy_(parameter.float().mean() + deviation * draw)
    return made


def _image_layers(model: nn.Module) -> list[nn.Module]:
    """Return modules with parameters of their own, top first: heads of images, then the tower from its end."""
    named = [(name, module) for name, module in model.named_modules() if list(module.parameters(recurse=False))]
    heads = [module for name, module in named if name.startswith("heads.image/")]
    tower = [module for name, module in named if name.startswith("towers.image.") or name == "towers.image"]
    shared = [module for name, module in named if name.startswith("trunk.")]  # of a single tower
    return heads + list(reversed(shared)) + list(reversed(tower))
