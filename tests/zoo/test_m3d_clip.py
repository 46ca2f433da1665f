"""M3D-CLIP: torch's transformer layers and transformers' BERT, put together by hand as its code does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medvlp.core.errors import ConfigError, DataError, UserError
from medvlp.models.encoders.volume_vit import VolumeViT
from medvlp.zoo import convert
from tests.zoo.small import bert_words, changed, kept, natural, spoilt, units
from tests.zoo.test_bert_pairs import bert, under
from tests.zoo.test_merlin import scan

WIDTH, BLOCKS = 128, 8 * 16 * 16


class M3d:
    def __init__(self) -> None:
        self.embed, self.norm = natural(nn.Linear(1024, WIDTH), seed=1), natural(nn.LayerNorm(WIDTH), seed=2)
        made = torch.Generator().manual_seed(3)
        self.token, self.place = torch.randn(1, 1, WIDTH, generator=made), torch.randn(1, BLOCKS, WIDTH, generator=made)
        options = {"activation": "gelu", "norm_first": True, "batch_first": True}
        self.layers = [natural(nn.TransformerEncoderLayer(WIDTH, 2, 72, **options), seed=4 + i) for i in range(2)]
        for layer in self.layers:
            layer.self_attn.in_proj_bias.data.zero_()  # its queries, keys and values have none
        self.bert = bert(hidden=WIDTH, heads=2)
        self.joined, self.worded = (natural(nn.Linear(WIDTH, WIDTH), seed=seed) for seed in (8, 9))

    def weights(self) -> dict[str, Tensor]:
        held = {"vision_encoder.cls_token": self.token, "logit_scale": torch.tensor(3.5)}
        held["vision_encoder.patch_embedding.position_embeddings"] = self.place
        held |= under("vision_encoder.patch_embedding.patch_embeddings.1.", self.embed)
        held |= {**under("vision_encoder.norm.", self.norm), **under("language_encoder.", self.bert)}
        held |= {**under("mm_vision_proj.", self.joined), **under("mm_language_proj.", self.worded)}
        names = {"self_attn.in_proj_weight": "attn.qkv.weight", "self_attn.in_proj_bias": ""}
        for i, layer in enumerate(self.layers):
            for name, tensor in layer.state_dict().items():
                own = names.get(name, name.replace("self_attn", "attn"))
                own = own.replace("linear", "mlp.linear")
                if own:
                    held[f"vision_encoder.blocks.{i}.{own}"] = tensor
        return held

    @torch.no_grad()
    def __call__(self, volume: Tensor) -> Tensor:
        """(1, 1, 32, 256, 256) -> (1, W)."""
        cells = volume.reshape(8, 4, 16, 16, 16, 16).permute(0, 2, 4, 1, 3, 5).reshape(1, BLOCKS, 1024)
        at = torch.cat([self.token, self.embed(cells) + self.place], dim=1)
        for layer in self.layers:
            at = layer(at)
        return self.joined(self.norm(at)[:, 0])


def by_monai(path: Path) -> Tensor:
    from monai import transforms as t

    own = [
        t.LoadImaged("image"), t.EnsureChannelFirstd("image"), t.Orientationd("image", axcodes="LPS"),
        t.ScaleIntensityRanged("image", a_min=-160, a_max=240, b_min=0.0, b_max=1.0, clip=True),
        t.CropForegroundd("image", source_key="image"), t.Resized("image", spatial_size=(256, 256, 32), mode="area"),
    ]  # fmt: skip
    return t.Compose(own)({"image": str(path)})["image"].as_tensor().permute(0, 3, 2, 1)[None]


def test_it_computes_what_its_parts_compute_on_a_squeezed_volume(tmp_path: Path) -> None:
    reference, words, path = M3d(), bert_words(tmp_path / "words"), scan(tmp_path / "ct.nii.gz")
    torch.save(reference.weights(), tmp_path / "file")
    options = {"tokenizer": str(tmp_path / "words")}
    ours = kept(convert(tmp_path / "file", name="m3d_clip", options=options), tmp_path / "bundle")
    assert ours.bundle.tokenizer is not None
    assert ours.bundle.tokenizer.max_length == 128
    with torch.no_grad():
        ids = words(["no effusion"], return_tensors="pt")
        text = reference.worded(reference.bert(**ids).last_hidden_state[:, 0])
    seen = by_monai(path)
    assert torch.equal(ours.prepare(path).pixels.pixels[:, 0], seen[0, 0])  # type: ignore[union-attr]
    record = ours.prepare(path).record
    assert record is not None
    # Nothing of this scan is below the window everywhere: the view reaches from corner to corner of the file.
    corners = np.array(record.matrix) @ np.array([[0.0, 0, 0, 1], [256, 256, 32, 1]]).T
    assert np.abs(corners - np.array([[0.0, 61], [0, 54], [0, 33]])).max() < 1e-3
    assert np.abs(ours.embed_image(path) - units(reference(seen))).max() < 1e-5
    assert np.abs(ours.embed_text(["no effusion"]) - units(text)).max() < 1e-5
    assert ours.scale == pytest.approx(3.5, rel=1e-6)  # not a logarithm, as elsewhere


def test_changed_and_spoilt_files_are_refused(tmp_path: Path) -> None:
    bert_words(tmp_path / "words")
    options: dict[str, Any] = {"tokenizer": str(tmp_path / "words")}
    whole = M3d().weights()
    for what, held in changed(whole):
        torch.save(held, tmp_path / "file")
        with pytest.raises(DataError, match="do not fit"):
            pytest.fail(f"{what}: {convert(tmp_path / 'file', name='m3d_clip', options=options)} was taken")
    torch.save({n: t for n, t in whole.items() if n != "mm_vision_proj.weight"}, tmp_path / "file")
    with pytest.raises(DataError, match=r"the importer m3d_clip reads \(it lacks 'mm_vision_proj\.weight'\)"):
        convert(tmp_path / "file", name="m3d_clip", options=options)
    with pytest.raises(UserError, match="A checkpoint of M3D-CLIP brings no tokenizer: give tokenizer=FOLDER"):
        convert(tmp_path / "file", name="m3d_clip", options={})
    for what, data in spoilt(tmp_path / "file", tmp_path / "trace"):
        (tmp_path / "bad").write_bytes(data)
        with pytest.raises(UserError, match="cannot be read as weights alone"):
            pytest.fail(f"{what}: {convert(tmp_path / 'bad', name='m3d_clip', options=options)} was taken")
    assert not (tmp_path / "trace").exists()


def test_a_tower_of_another_size_is_one_sentence() -> None:
    with pytest.raises(
        ConfigError, match=r"volume_vit cuts \(8, 30, 32\) into blocks of \(4, 16, 16\) .* let each divide"
    ):
        VolumeViT(size=(8, 30, 32), width=16, layers=1, heads=2)
    tower = VolumeViT(size=(8, 32, 32), width=16, layers=1, heads=2, hidden=24)
    with pytest.raises(ConfigError, match=r"takes stacks \(R, 8, 1, 32, 32\) and was given \(1, 4, 1, 32, 32\)"):
        tower(torch.zeros(1, 4, 1, 32, 32), parts=frozenset())
