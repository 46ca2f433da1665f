"""A MONAI Bundle: metadata, configuration and weights; pictures or volumes -> findings, else the embedding."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import nn

from medvlp.core.errors import UserError
from medvlp.core.files import write_json
from medvlp.core.registry import FromModel
from medvlp.models.bundle import Bundle, StoredAnswer
from medvlp.models.encoders.monai import MonaiEncoder
from medvlp.models.heads.identity import Identity
from medvlp.models.heads.linear import LinearHead
from medvlp.models.heads.projection import Projection
from medvlp.zoo.exports._export import created_by_timm, not_held, plain_tower, with_channels

_SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
# Encoding halves of MONAI's networks, as its parts in a row.
_HALVES = {
    "unet": ("BasicUNet", "@whole.conv_0, @whole.down_1, @whole.down_2, @whole.down_3, @whole.down_4"),
    "segresnet": ("SegResNet", "torch.nn.Sequential(@whole.convInit, @whole.down_layers[0]), *@whole.down_layers[1:]"),
}


def monai(*, bundle: Annotated[Bundle, FromModel("bundle")], folder: Annotated[Path, FromModel("folder")]) -> list[str]:
    """Write a MONAI Bundle: its network is made of timm's, torch's and MONAI's own parts, and needs nothing of ours.

    What the form cannot hold is returned, a phrase each.
    """
    model: Any = bundle.model
    stated = json.dumps([model.spec, dict(bundle.provenance), [each.labels for each in bundle.answers]], default=str)
    if words := re.search(r'(?<!\\)"([$@%][^"]*)', stated):
        raise UserError(f"MONAI would run {words[1]!r}, which this bundle names, as code: rename it, or use onnx.")
    kind = model.vision_kind
    tower = model.towers[kind]
    volume = isinstance(tower, MonaiEncoder)
    parts, input_of, shown = _of_volumes(tower) if volume else _of_pictures(bundle, tower)
    chains = ((each, _chain(model, str(each.options.get("part", "")))) for each in bundle.answers)
    # An answer goes along whose part is made of plain layers, with one output a label.
    asked = next(((each, c) for each, c in chains if c and _width(c) == len(each.labels)), None)
    findings, chain = asked or (None, _chain(model, "raw"))
    if chain is None:
        raise UserError("MONAI's form has no place for this model's projection: its layers are not plain; use onnx.")
    layers = [layer for _, layer in chain]
    names = [f"layer_{i}" for i in range(len(layers))]
    body = "@tower" if not volume else "@tower, torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten(1)"
    network = {**parts, **{name: _described(layer) for name, layer in zip(names, layers, strict=True)}}
    network["network_def"] = f"$torch.nn.Sequential({', '.join([body, *(f'@{name}' for name in names)])})"
    first = tower.stages if volume else tower.backbone
    held = {f"0.{name}": tensor for name, tensor in first.state_dict().items()}
    for at, layer in enumerate(layers, start=3 if volume else 1):
        held |= {f"{at}.{name}": tensor for name, tensor in layer.state_dict().items()}
    (folder / "models").mkdir()
    weights = {name: tensor.detach().cpu().clone() for name, tensor in held.items()}
    torch.save(weights, folder / "models" / "model.pt")
    (folder / "configs").mkdir()
    width = _width(chain) or tower.width
    write_json(folder / "configs" / "metadata.json", _metadata(bundle, input_of, _output(findings, width)))
    write_json(folder / "configs" / "inference.json", _inference(network, shown, findings))
    (folder / "docs").mkdir()
    (folder / "docs" / "README.md").write_text(bundle.card, encoding="utf-8")
    behind = ["the text tower"] if model.reads_text else []
    others = [each for each in bundle.answers if each is not findings]
    return [*behind, *not_held(bundle, held={head for head, _ in chain}.__contains__, answers=others)]


def _of_pictures(bundle: Bundle, tower: Any) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:  # noqa: ANN401
    """Return the network's parts, what it is given, and the transforms of it."""
    plain = plain_tower(bundle, "MONAI's form")
    mean, std = with_channels(plain)
    made = created_by_timm(plain)
    parts = {"tower": {"_target_": "timm.create_model", "model_name": plain["architecture"], "num_classes": 0, **made}}
    side = tower.image_size
    gray = tower.channels == 1
    shown: list[dict[str, Any]] = [] if gray else [{"_target_": "RepeatChanneld", "keys": "image", "repeats": 3}]
    scale = (mean[:1], std[:1]) if gray else (mean, std)
    shown.append(_normalised(*scale))
    return parts, {"num_channels": tower.channels, "spatial_shape": [side, side], "value_range": [0, 1]}, shown


def _of_volumes(tower: MonaiEncoder) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    if tower.architecture not in _HALVES:
        raise UserError(
            f"MONAI's form has no place for the encoding half of {tower.architecture!r}: unet and segresnet go there."
        )
    name, stages = _HALVES[tower.architecture]
    width = tower.levels[0].channels
    sizes = (
        {"features": [width, width, 2 * width, 4 * width, 8 * width, width]}
        if name == "BasicUNet"
        else {"init_filters": width}
    )
    whole = {"_target_": f"monai.networks.nets.{name}", "spatial_dims": 3, "in_channels": tower.channels, **sizes}
    parts = {"whole": whole, "tower": f"$torch.nn.Sequential({stages})"}
    shape = {"num_channels": tower.channels, "spatial_shape": ["16*n", "16*n", "16*n"], "value_range": [0, 1]}
    return parts, shape, [_normalised([tower.mean] * tower.channels, [tower.std] * tower.channels)]


def _normalised(mean: list[float], std: list[float]) -> dict[str, Any]:
    numbers = {"subtrahend": mean, "divisor": std, "channel_wise": True}
    return {"_target_": "NormalizeIntensityd", "keys": "image", **numbers}


def _chain(model: Any, part: str) -> list[tuple[str, nn.Module]] | None:  # noqa: ANN401
    """Return the layers, each with its head, from what the tower pools to a part; None where it is made otherwise."""
    if part == "pooled":
        return []
    name = f"{model.vision_kind}/{part}"
    head = dict(model.heads.items()).get(name)
    own: list[nn.Module] = []
    if isinstance(head, LinearHead):
        own = [head.output]
    elif isinstance(head, Projection) and _is_plain(head):
        own = [*(each for pair in zip(head.hidden, head.activations, strict=True) for each in pair), head.output]
    elif not isinstance(head, Identity) or head.mean:
        return None
    before = _chain(model, head.reads[0])
    return None if before is None else [*before, *((name, layer) for layer in own)]


def _is_plain(head: Projection) -> bool:
    """Whether a projection is linear layers and activations alone, over one vector."""
    normed = head.standard is not None or any(True for _ in head.norms.parameters())
    return not (head.mean or head.first or normed)


def _width(chain: list[tuple[str, nn.Module]]) -> int:
    return next((each.out_features for _, each in reversed(chain) if isinstance(each, nn.Linear)), 0)


def _described(layer: nn.Module) -> dict[str, Any]:
    if not isinstance(layer, nn.Linear):
        return {"_target_": f"torch.nn.{type(layer).__name__}"}
    sizes = {"in_features": layer.in_features, "out_features": layer.out_features, "bias": layer.bias is not None}
    return {"_target_": "torch.nn.Linear", **sizes}


def _output(findings: StoredAnswer | None, width: int) -> dict[str, Any]:
    common = {"num_channels": width, "spatial_shape": [], "dtype": "float32", "is_patch_data": False}
    if findings is None:
        return {**common, "type": "tuples", "format": "embedding", "value_range": []}
    named = {str(i): name for i, name in enumerate(findings.labels)}
    return {**common, "type": "probabilities", "format": "classes", "value_range": [0, 1], "channel_def": named}


def _metadata(bundle: Bundle, shape: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    facts = bundle.provenance
    common = {"type": "image", "format": "magnitude", "dtype": "float32", "is_patch_data": False}
    return {
        "schema": _SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "exported"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"timm": version("timm")},
        "name": str(facts.get("release", "A model of medvlp")),
        "task": "Findings of a picture" if given["type"] == "probabilities" else "Embedding of a picture",
        "description": "Exported by medvlp; docs/README.md says what it is and where it comes from.",
        "authors": str(facts.get("citation", "see docs/README.md")),
        "copyright": str(facts.get("licence", "see docs/README.md")),
        "intended_use": "Research, not for diagnosis.",
        "network_data_format": {
            "inputs": {"image": {**common, **shape, "channel_def": {"0": "image"}}},
            "outputs": {"pred": dict(given)},
        },
    }


def _inference(
    network: Mapping[str, Any], shown: list[dict[str, Any]], findings: StoredAnswer | None
) -> dict[str, Any]:
    """Return the workflow: files of display values in, predictions written as JSON would be the site's own matter."""
    options: Mapping[str, Any] = {} if findings is None else findings.options
    steps = {"other": "$lambda logits: torch.sigmoid(logits).cumprod(0)"} if options.get("ordered") else {}
    activation = steps or {"softmax" if options.get("exclusive") else "sigmoid": True}
    after = [{"_target_": "Activationsd", "keys": "pred", **activation}] if findings else []
    loaded = [
        {"_target_": "LoadImaged", "keys": "image", "reader": "NumpyReader"},
        {"_target_": "EnsureChannelFirstd", "keys": "image", "channel_dim": 0},
    ]
    return {
        "imports": ["$import glob", "$import os", "$import torch", "$import timm"],
        "bundle_root": ".",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "dataset_dir": "$@bundle_root + '/data'",
        "datalist": "$[{'image': each} for each in sorted(glob.glob(os.path.join(@dataset_dir, '*.npy')))]",
        **network,
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": [*loaded, *shown]},
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {"_target_": "Compose", "transforms": after},
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$@bundle_root + '/models/model.pt'",
                "load_dict": {"model": "@network"},
            }
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "run": ["$@evaluator.run()"],
    }
