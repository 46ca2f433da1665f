"""CARZero: what timm's ViT, transformers' BERT and torch's attention compute, put together by hand as its code does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from medvlp.core.errors import DataError
from medvlp.zoo import convert
from tests.zoo.small import bert_words, changed, kept, natural
from tests.zoo.test_bert_pairs import bert, under

PLACES, WIDTH = 97, 128


class CarZero:
    """Its parts, small: all sizes are read off the weights."""

    def __init__(self) -> None:
        self.seen = natural(
            timm.create_model("vit_base_patch16_224", num_classes=0, embed_dim=WIDTH, depth=2, num_heads=2), seed=1
        )
        self.bert = bert(hidden=WIDTH, heads=2)
        layer = nn.TransformerDecoderLayer(WIDTH, 4, 48, norm_first=True, batch_first=True)
        self.decoder = natural(nn.TransformerDecoder(layer, 2, nn.LayerNorm(WIDTH)), seed=4)
        parts = [nn.Linear(WIDTH, 20), nn.ReLU(), nn.Dropout(0.1), nn.Linear(20, 12), nn.ReLU(), nn.Dropout(0.1)]
        self.readout = natural(nn.Sequential(*parts, nn.Linear(12, 1)), seed=5)

    def weights(self) -> dict[str, Tensor]:
        held = {**under("img_encoder.model.", self.seen), **under("text_encoder.model.", self.bert)}
        held |= {**under("fusion_module.decoder.", self.decoder), **under("fusion_module.mlp_head.", self.readout)}
        return (
            held
            | under("fusion_module.decoder_norm.", self.decoder.norm)
            | {"fusion_module.logit_scale": torch.ones(())}
        )

    def words(self, tokens: Any, text: str) -> Tensor:
        """Return (97, W): the pieces of each word added up, in the order of the words, and zeros."""
        ids = tokens([text], return_tensors="pt")
        layers = torch.stack(self.bert(**ids, output_hidden_states=True).hidden_states[-4:]).sum(dim=0)[0]
        rows: list[Tensor] = []
        for piece, vector in zip(tokens.convert_ids_to_tokens(ids["input_ids"][0].tolist()), layers, strict=True):
            if piece.startswith("##"):
                rows[-1] = rows[-1] + vector
            else:
                rows.append(vector)
        return torch.cat([torch.stack(rows), torch.zeros(PLACES - len(rows), WIDTH)])

    def looked(self, query: Tensor, memory: Tensor) -> Tensor:
        x, memory = self.decoder.norm(query)[None, None], self.decoder.norm(memory)[None]
        for layer in self.decoder.layers:
            x = x + layer.multihead_attn(layer.norm2(x), memory, memory)[0]
            x = x + layer.linear2(layer.linear1(layer.norm3(x)).relu())
        return self.readout(self.decoder.norm(x))[0, 0, 0]

    @torch.no_grad()
    def __call__(self, image: Tensor, tokens: Any, text: str) -> float:
        features = self.seen.forward_features((image[None] - 0.4978) / 0.2449)[0]
        words = self.words(tokens, text)
        sentence = words.mean(dim=0)
        by_text = self.looked(sentence, features)
        by_image = self.looked(features[0], torch.cat([sentence[None], words]))
        return float((by_text + by_image) / 2)


def test_the_score_is_what_its_parts_compute_both_ways_round(tmp_path: Path) -> None:
    reference, tokens = CarZero(), bert_words(tmp_path / "words")
    held = {f"CARZero.{n}": t for n, t in reference.weights().items()}
    torch.save({"state_dict": held, "epoch": 3}, tmp_path / "best.ckpt")
    options = {"tokenizer": str(tmp_path / "words")}
    ours = kept(convert(tmp_path / "best.ckpt", name="carzero", options=options), tmp_path / "bundle")
    assert ours.bundle.tokenizer is not None
    assert ours.bundle.tokenizer.max_length == PLACES
    (view,) = ours.bundle.preprocessing
    assert (view["fit"], view["resample"], view["resize"], view["size"]) == ("pad", "area", 256, 224)
    picture = np.random.default_rng(0).random((230, 190), dtype=np.float32)
    scores = ours.ask("zero_shot", picture).scores
    assert scores is not None
    pixels = ours.prepare(picture).pixels.expand(3, -1, -1)
    for finding, text in (("effusion", "there is pleural effusion"), ("edema", "there is edema")):
        expected = reference(pixels, tokens, text)
        assert np.log(scores[finding][0] / (1 - scores[finding][0])) == pytest.approx(expected, abs=1e-5)
    for what, changes in changed(reference.weights()):
        torch.save({"state_dict": {f"CARZero.{n}": t for n, t in changes.items()}}, tmp_path / "file")
        with pytest.raises(DataError, match="do not fit"):
            pytest.fail(f"{what}: {convert(tmp_path / 'file', name='carzero', options=options)} was taken")
    fusion = {n: t for n, t in reference.weights().items() if n.startswith("fusion_module")}
    for what, changes in changed(fusion):
        others = {n: t for n, t in reference.weights().items() if n not in fusion}
        torch.save({"state_dict": {f"CARZero.{n}": t for n, t in {**others, **changes}.items()}}, tmp_path / "file")
        with pytest.raises(DataError, match=r"do not fit|lacks"):
            pytest.fail(f"{what}: {convert(tmp_path / 'file', name='carzero', options=options)} was taken")
