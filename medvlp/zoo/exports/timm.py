"""A folder that timm reads: ``timm.create_model("local-dir:FOLDER", pretrained=True)``; the image tower alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from safetensors.torch import save_file

from medvlp.core.files import write_json
from medvlp.core.registry import FromModel
from medvlp.models.bundle import Bundle
from medvlp.zoo.exports._export import created_by_timm, not_held, only_read, plain_tower, with_channels


def timm(*, bundle: Annotated[Bundle, FromModel("bundle")], folder: Annotated[Path, FromModel("folder")]) -> list[str]:
    """Write the image tower; it gives what the bundle's tower pools, before any projection.

    What the form cannot hold is returned, a phrase each.
    """
    tower = plain_tower(bundle, "timm's form")
    model: Any = bundle.model
    backbone = model.towers[model.vision_kind].backbone
    mean, std = with_channels(tower)
    gray = tower["channels"] == 1
    size = tower["image_size"]
    held = {n: t.detach().float().cpu().contiguous().clone() for n, t in backbone.state_dict().items()}
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    shown: dict[str, object] = {"input_size": [tower["channels"], size, size], "num_classes": 0}
    shown |= {"mean": mean[:1] if gray else mean, "std": std[:1] if gray else std}
    view = only_read(bundle)
    whole, fit = view.get("resize") or size, view.get("fit")
    known = view.get("size") == size and view.get("resample") in ("bicubic", "bilinear", "lanczos")
    known = known and ((fit == "crop" and whole >= size) or (fit == "squeeze" and whole == size))
    if known:  # timm cuts decimals off, and the share itself may fall short by rounding
        share = next(each for each in (size / whole, size / (whole + 0.5)) if int(size / each) == whole)
        mode = "center" if fit == "crop" else "squash"
        shown |= {"interpolation": view["resample"], "crop_pct": share, "crop_mode": mode}
    config = {
        "architecture": tower["architecture"],
        "num_classes": 0,
        "num_features": backbone.num_features,
        "pretrained_cfg": shown,
        "model_args": created_by_timm(tower),
    }
    write_json(folder / "config.json", config)
    text = ["the text tower and the projections"] if model.reads_text else []
    return [*text, *not_held(bundle, pixels=not known)]
