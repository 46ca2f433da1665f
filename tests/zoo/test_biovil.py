"""BioViL and BioViL-T: what hi-ml's models compute, the bundle computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medvlp.core.errors import DataError, UserError
from medvlp.text.tokenizers import TransformersTokenizer
from medvlp.zoo import convert
from tests.zoo.small import TEXTS, bert_words, changed, kept, natural, pictures, units

for needed in ("health_multimodal", "SimpleITK"):
    pytest.importorskip(needed, reason=f"{needed} is not installed (hi-ml-multimodal of the extra bench brings it)")
SIDES = {False: 480, True: 448}


def files(folder: Path, *, temporal: bool) -> tuple[Any, Any, Any]:
    from health_multimodal.image.model.model import ImageModel, MultiImageModel
    from health_multimodal.text.model.configuration_cxrbert import CXRBertConfig
    from health_multimodal.text.model.modelling_cxrbert import CXRBertModel

    words = bert_words(folder / "text")
    options = {"joint_feature_size": 128}
    image = (
        MultiImageModel(img_encoder_type="resnet50_multi_image", **options)
        if temporal
        else ImageModel(img_encoder_type="resnet50", **options)
    )
    sizes = {"hidden_size": 128, "intermediate_size": 100, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = natural(CXRBertModel(CXRBertConfig(**sizes, vocab_size=len(words))))
    with torch.no_grad():  # so small that what the norm behind adds to a variance is seen
        for parameter in text.cls_projection_head.dense_to_hidden.parameters():
            parameter.mul_(1e-3)
    natural(image)
    torch.save(image.state_dict(), folder / "image.pt")
    numbered = {"bert.embeddings.position_ids": torch.arange(512)[None]}
    torch.save({**text.state_dict(), **numbered}, folder / "text" / "pytorch_model.bin")
    return image, text, words


@pytest.mark.slow
@pytest.mark.parametrize("temporal", [False, True])
def test_it_computes_what_hi_ml_computes(tmp_path: Path, temporal: bool) -> None:
    image, text, words = files(tmp_path, temporal=temporal)
    bundle = convert(tmp_path / "image.pt", name="biovil", options={"text": str(tmp_path / "text")})
    ours = kept(bundle, tmp_path / "bundle")
    images = pictures(SIDES[temporal], count=2)
    with torch.inference_mode():
        seen = image(images).projected_global_embedding
        ids = words(TEXTS, padding=True, return_tensors="pt")
        said = text.get_projected_text_embeddings(ids["input_ids"], ids["attention_mask"])
    assert np.abs(ours.embed_prepared(list(images)) - units(seen)).max() < 1e-5
    assert np.abs(ours.embed_text(TEXTS) - units(said)).max() < 1e-5
    left = bundle.provenance["left_out"]
    assert {"encoder.encoder.fc.weight", "bert.embeddings.position_ids", "cls.predictions.bias"} <= set(left)
    assert any("vit_pooler" in name for name in left) == temporal
    assert bundle.provenance["release"] == ("BioViL-T" if temporal else "BioViL")
    assert ours.scale == pytest.approx(1.0)
    cut = {"name": "read", "fit": "crop", "resample": "bilinear", "resize": 512, "preset": "dicom_voi_v1"}
    assert bundle.preprocessing == [{**cut, "size": SIDES[temporal]}]
    prompts = bundle.answers[0].options["prompts"]
    assert not any(text.endswith(".") for each in prompts for text in (*each["positive"], *each["negative"]))


@pytest.mark.slow
def test_other_weights_and_a_single_file_are_refused(tmp_path: Path) -> None:
    image, _, _ = files(tmp_path, temporal=False)
    with pytest.raises(UserError, match="BioViL is two files: give text=FOLDER"):
        convert(tmp_path / "image.pt", name="biovil", options={})
    options = {"text": str(tmp_path / "text")}
    for what, held in changed(image.state_dict()):
        torch.save(held, tmp_path / "image.pt")
        with pytest.raises(DataError, match="do not fit"):
            pytest.fail(f"{what}: {convert(tmp_path / 'image.pt', name='biovil', options=options)} was taken")


def test_the_class_of_the_releases_tokenizer_is_berts_and_its_code_is_not_run(tmp_path: Path) -> None:
    words = bert_words(tmp_path / "text")
    (tmp_path / "text" / "tokenizer.json").unlink()
    told = {"tokenizer_class": "CXRBertTokenizer", "do_lower_case": True}
    told["auto_map"] = {"AutoTokenizer": ["configuration_cxrbert.CXRBertTokenizer", None]}
    (tmp_path / "text" / "tokenizer_config.json").write_text(json.dumps(told))
    (tmp_path / "text" / "config.json").write_text('{"model_type": "cxr-bert"}')
    (tmp_path / "text" / "configuration_cxrbert.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')")
    made = TransformersTokenizer(tmp_path / "text")
    assert made(["No Effusion"]).ids[0, :12].tolist() == words("No Effusion")["input_ids"]
    made.save(tmp_path / "kept")
    assert "auto_map" not in (tmp_path / "kept" / "tokenizer_config.json").read_text()
    assert torch.equal(TransformersTokenizer(tmp_path / "kept")(TEXTS).ids, made(TEXTS).ids)
    assert not (tmp_path / "trace").exists(), "code of the folder was run"
    told["auto_map"] = {"AutoTokenizer": ["configuration_cxrbert.Another", None]}
    (tmp_path / "text" / "tokenizer_config.json").write_text(json.dumps(told))
    with pytest.raises(UserError, match="holds no tokenizer that transformers can read"):
        TransformersTokenizer(tmp_path / "text")
    assert not (tmp_path / "trace").exists()
