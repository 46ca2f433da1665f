"""KAD: ResNet-50, Med-KEBERT, and a decoder that any finding asks through by its plain name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field

from medvlp.core.keys import Plan, keys
from medvlp.core.registry import FromModel
from medvlp.core.sample import Batch
from medvlp.models.bank import Bank
from medvlp.models.bundle import Bundle, StoredAnswer
from medvlp.zoo._bert import BERT_EXTRAS, bert_and_words
from medvlp.zoo._books import NUMBERS, cut_resnet, squeezed, trunk
from medvlp.zoo._keys import Rules, count, under, without, without_twins
from medvlp.zoo._protocol import read_checkpoint
from medvlp.zoo._release import Release, asked_by_recipe, imported

_BERT = "text_encoder.bert_model."
_RULES: Rules = [
    *trunk("image_encoder.res_features."),
    (r"image_encoder\.res_l1\.(.*)", r"heads.image/local.hidden.0.\1"),
    (r"image_encoder\.res_l2\.(.*)", r"heads.image/local.output.\1"),
    *under(_BERT, [("(.*)", r"\1")], "towers.text.backbone."),
    (r"text_encoder\.mlp_embed\.0\.(.*)", r"heads.text/raw.hidden.0.\1"),
    (r"text_encoder\.mlp_embed\.2\.(.*)", r"heads.text/raw.output.\1"),
    (r"model\.decoder\.(.*)", r"heads.image/existence.decoder.\1"),
    (r"model\.mlp_head\.0\.(.*)", r"heads.image/existence.exist.\1"),
]
# The file holds the ResNet by name and by number, and a norm as itself and as the decoder's.
_TWINS: Rules = [
    *((rf"image_encoder\.resnet\.{name}\.(.*)", rf"image_encoder.res_features.{n}.\1") for n, name in NUMBERS.items()),
    (r"model\.decoder_norm\.(.*)", r"model.decoder.norm.\1"),
]
_RELEASE = Release(title="KAD", licence="MIT", citation="Zhang et al., Nature Communications 2023.", recipe="kad_v1")


def kad(
    *,
    source: Annotated[Path, FromModel("source")],
    tokenizer: str | None = None,
    queries: dict[str, str] | None = None,
    heads: Annotated[int, Field(ge=1)] = 4,
    image_size: Annotated[int, Field(ge=32)] | None = None,
    preset: str = "dicom_voi_v1",
) -> Bundle:
    """Import a checkpoint of KAD with a ResNet-50.

    Args:
        source: the ``.pt`` file with image encoder, text encoder and decoder.
        tokenizer: folder or hub name of Med-KEBERT's tokenizer.
        queries: finding -> the name to ask by; None: the fourteen that its script asks of ChestX-ray14. They read each
            other, so that a score depends a little on what else is asked.
        heads: attention heads of the decoder, which the weights do not tell.
        image_size: side of the pictures; None: 512, or 224 where the ResNet is cut behind its third stage.
        preset: how files become display values (`medvlp.io.preset_names`).

    Raises:
        UserError: if the file cannot be read, or no tokenizer is given.
        DataError: if the weights are another model.
    """
    held = read_checkpoint(source, parts=("image_encoder", "text_encoder", "model"))
    unique, twins = without_twins(held, _TWINS)
    cut = not any(name.startswith("image_encoder.res_features.7.") for name in unique)
    unused = {**BERT_EXTRAS, r"image_encoder\.resnet\.fc\..*": None, r"(text_encoder|model)\.logit_scale": None}
    weights, left = without(unique, unused | ({r"image_encoder\.resnet\.layer4\..*": None} if cut else {}))
    config, words = bert_and_words(weights, _BERT, tokenizer, title="KAD", hub="xmcmic/Med-KEBERT", length=256)
    asked = queries or {each["label"]: each["positive"][0] for each in asked_by_recipe("kad_v1").options["prompts"]}
    hidden, width = (len(weights[f"image_encoder.res_l{i}.weight"]) for i in (1, 2))
    inner = len(weights["model.decoder.layers.0.linear1.weight"])
    side = image_size or (224 if cut else 512)
    layers = count(weights, r"model\.decoder\.layers\.(\d+)\..*")
    spec = {
        "name": "dual",
        "vision": cut_resnet(side, weights, "image_encoder.res_features."),
        "text": {"name": "transformers", "config": config, "pool": "pooler"},
        "embed_dim": width,
        "heads": {
            "image/local": {"name": "projection", "reads": "tokens", "hidden": hidden, "width": width, "bias": True},
            "image/raw": {"name": "identity", "reads": "local", "mean": True},
            "text/raw": {"name": "projection", "hidden": width, "width": width, "bias": True, "activation": "gelu"},
            "image/existence": {
                "name": "text_queries", "reads": "local", "mapped": False, "norm_first": True,
                "layers": layers, "heads": heads, "feedforward": inner,
            },
        },
        "scale": {"init": 1.0},
    }  # fmt: skip
    names = Bank("existence", tuple(asked.values()), names=tuple(asked))
    blank = names.with_vectors(torch.zeros(len(asked), width), encoder="text")

    def finish(model: Any) -> None:  # noqa: ANN401  (a model that was just built)
        with torch.inference_mode(False), torch.no_grad():
            vectors = model(Batch.of({"text": list(asked.values())}), Plan.of(keys("text/raw")))["text"].part("raw")
        model.add_bank(names.with_vectors(vectors, encoder="text"))
        model.heads["image/existence"].ask(model.banks["existence"])

    return imported(
        spec,
        weights,
        _RULES,
        importer="kad",
        source=source,
        release=_RELEASE,
        read=[squeezed(side, preset, "bicubic")],
        tokenizer=words,
        banks={"existence": blank},
        finish=finish,
        answers=[StoredAnswer("existence", "existence", {"head": "existence", "labels": list(asked)}, list(asked))],
        facts={"left_out": [*twins, *left], "queries": list(asked.values())},
        limits=(
            "Its own measure of a picture and a text is the product of their vectors, not scaled to length 1; what "
            "searches here compares by the angle."
        ),
    )
