"""A folder that transformers reads: CLIP, SigLIP or DINOv2, whichever the bundle's towers are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from safetensors.torch import load_file

from medvlp.core.errors import UserError
from medvlp.core.files import write_json
from medvlp.core.registry import FromModel
from medvlp.models.bundle import Bundle
from medvlp.zoo import dinov2
from medvlp.zoo import transformers as pairs
from medvlp.zoo.exports._export import SIZES, ends_of, not_held, plain_tower, processor_of, refuse_pooling, write_pair

_KINDS = {
    ("vit_base_patch16_clip_quickgelu_224", "clip_text_model"): "clip",
    ("vit_base_patch16_siglip_224", "siglip_text_model"): "siglip",
}
_FORM = "transformers' form"
_ACTIVATIONS = {"quick_gelu": "quick_gelu", "gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh"}


def transformers(
    *, bundle: Annotated[Bundle, FromModel("bundle")], folder: Annotated[Path, FromModel("folder")]
) -> list[str]:
    """Write CLIP, SigLIP or DINOv2, with tokenizer, and with preprocessor where it can make the bundle's pixels.

    What the form cannot hold is returned, a phrase each.
    """
    from transformers import CLIPConfig, CLIPModel, Dinov2Config, Dinov2Model, SiglipConfig, SiglipModel
    from transformers.utils.logging import disable_progress_bar

    tower = plain_tower(bundle, _FORM)
    model: Any = bundle.model
    options: dict[str, Any] = dict(tower.get("options") or {})
    text: dict[str, Any] = dict(model.spec.get("text", {}).get("config") or {})
    kind = _KINDS.get((tower["architecture"], str(text.get("model_type"))))
    dino = not model.reads_text and "init_values" in options and tower["architecture"] == "vit_base_patch16_224"
    if (kind is None and not dino) or not options.keys() >= SIZES or tower.get("pool"):
        raise UserError(
            f"{_FORM} has no place for a model of {tower['architecture']!r} with the text tower "
            f"{text.get('model_type')!r}: CLIP, SigLIP and DINOv2 go there, as the importers of these names make them; "
            "others go to timm or onnx."
        )
    words = {k: v for k, v in text.items() if k != "model_type"}
    if kind is not None:
        refuse_pooling(bundle, _FORM, pool="last" if kind == "clip" else "pooler", fill=kind == "siglip")
    if kind == "clip":
        start, stop = ends_of(bundle, _FORM)
        if stop == 2:
            raise UserError(
                f"{_FORM} has no place for a tokenizer that ends texts with the id 2: for CLIP it then takes the "
                "largest id for the end, as of older files. Such a model goes to onnx."
            )
        words |= {"bos_token_id": start, "eos_token_id": stop}
    vision = {
        "hidden_size": options["embed_dim"],
        "num_hidden_layers": options["depth"],
        "num_attention_heads": options["num_heads"],
        "image_size": tower["image_size"],
        "patch_size": options["patch_size"],
        "hidden_act": _ACTIVATIONS[options["act_layer"]],
    }
    hidden = int(options["embed_dim"] * options["mlp_ratio"])
    both = {"text_config": words, "vision_config": {**vision, "intermediate_size": hidden}}
    if dino:
        ratio = round(hidden / options["embed_dim"])  # a whole number in this library
        made: Any = Dinov2Model(Dinov2Config(**vision, mlp_ratio=ratio, qkv_bias=options.get("qkv_bias", True)))
    elif kind == "clip":
        made = CLIPModel(CLIPConfig(**both, projection_dim=model.embed_dim))
    else:
        made = SiglipModel(SiglipConfig(**both))
    disable_progress_bar()  # of a file whose names and shapes alone count
    made.save_pretrained(folder)
    del made
    file = folder / "model.safetensors"
    # The mask token serves training alone, and importers leave it out.
    like = {n: t for n, t in load_file(file).items() if not n.endswith("mask_token")}
    spare = {n: t * 0 for n, t in load_file(file).items() if n.endswith("mask_token")}
    write_pair(bundle, file, like, dinov2.ours_of if dino else pairs.ours_of, more=spare)
    shown = processor_of(bundle, {"clip": "CLIP", "siglip": "Siglip"}.get(str(kind), "Bit"), tower)
    if shown is not None:
        write_json(folder / "preprocessor_config.json", shown)
    return not_held(bundle, held=lambda head: head.endswith("/raw"), pixels=shown is None)
