"""Slice features: what the tower makes of each slice, a file a volume; training on them is training on the slices."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from medvlp.core.errors import ConfigError, DataError, UserError
from medvlp.core.keys import Plan, keys
from medvlp.core.sample import Batch
from medvlp.data.loader import in_order
from medvlp.data.manifest import Manifest
from medvlp.data.prepare import prepare
from medvlp.data.stack_files import FileStack
from medvlp.data.views.read_stack_file import ReadStackFile
from medvlp.data.views.read_volume import ReadVolume
from medvlp.features.slice_features import slice_tower, tower_hash, write_slice_features
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, save_bundle
from medvlp.runs.slices import embed_slices
from medvlp.text.wordpiece import train_wordpiece
from tests.data.volumes import DEPTHS, volume_cohort
from tests.tiny import MODEL, VISION

WORDS = train_wordpiece(["nodule in the right lung", "clear lungs"] * 3, vocab_size=64, max_length=16)
STACKS: dict[str, Any] = {
    **MODEL,
    "vision": {"name": "slices", "slice": VISION, "chunk": 4},
    "heads": {
        "stack/volume": {"name": "slice_pooler", "heads": 2, "pool": "attention"},
        "stack/raw": {"name": "projection", "reads": "volume"},
    },
}
VIEWS = [ReadVolume(size=32, windows=("ct_lung_v1",))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("slices")


def embeddings(model: Any, batches: list[Batch]) -> torch.Tensor:
    plan = Plan.of(keys("stack/embedding"))
    with torch.no_grad():
        return torch.cat([model.finish(model(b, plan), plan)["stack"].part("embedding") for b in batches])


def test_a_model_sees_the_same_in_features_as_in_slices(folder: Path) -> None:
    manifest = volume_cohort(folder / "ct")
    model = build_model(STACKS, tokenizer=WORDS).eval()
    direct = embeddings(model, list(in_order(prepare(manifest, VIEWS, cache=folder / "cache"))))
    for workers in (0, 2):
        done = write_slice_features(model, manifest, VIEWS, folder / f"f{workers}", workers=workers)
        assert (done.left_out, done.made, len(done.manifest)) == ((), 6, 6)
        stored = Manifest.load(folder / f"f{workers}" / "manifest.parquet")
        assert stored.column("id").tolist() == manifest.column("id").tolist()
        assert stored.column("text").tolist() == manifest.column("text").tolist()
        assert "volume" not in stored
        prepared = prepare(stored, [ReadStackFile()], cache=folder / "cache")
        cached = embeddings(model, list(in_order(prepared)))
        torch.testing.assert_close(cached, direct, atol=1e-5, rtol=1e-4)
    path = stored.path(3, "stack")
    assert path is not None
    assert FileStack(path).shape == (slice_tower(model).width, 1, 1)
    assert len(FileStack(path)) == DEPTHS[3]


def test_what_is_there_is_not_made_again_unless_tower_views_or_source_changed(folder: Path) -> None:
    manifest = volume_cohort(folder / "again")
    model = build_model(STACKS, tokenizer=WORDS).eval()
    out = folder / "resumed"
    assert write_slice_features(model, manifest.take([0, 1]), VIEWS, out).made == 2
    assert write_slice_features(model, manifest, VIEWS, out).made == 4
    assert write_slice_features(model, manifest, VIEWS, out).made == 0
    os.utime(manifest.root / "v1.nii.gz", ns=(5, 5))
    assert write_slice_features(model, manifest, VIEWS, out).made == 1
    assert write_slice_features(model, manifest, [ReadVolume(size=32, windows=("ct_bone_v1",))], out).made == 6
    before = tower_hash(slice_tower(model))
    for parameter in slice_tower(model).parameters():
        parameter.data.mul_(1.5)
        break
    assert tower_hash(slice_tower(model)) != before
    assert write_slice_features(model, manifest, [ReadVolume(size=32, windows=("ct_bone_v1",))], out).made == 6
    # Of the same weights, and shown brighter slices.
    other = build_model({**STACKS, "vision": {"name": "slices", "slice": {**VISION, "mean": [0.1]}}}, tokenizer=WORDS)
    other.load_state_dict(model.state_dict())
    assert tower_hash(slice_tower(other)) == tower_hash(slice_tower(model))
    again = write_slice_features(other, manifest, [ReadVolume(size=32, windows=("ct_bone_v1",))], out)
    assert again.made == 6
    assert again.manifest.meta["slices"]["pixel_scale"]["mean"] == pytest.approx([0.1])  # pyrefly: ignore


def test_a_volume_that_changes_while_it_is_encoded_is_made_again(folder: Path) -> None:
    manifest = volume_cohort(folder / "changing").take([0])
    model, path = build_model(STACKS, tokenizer=WORDS).eval(), manifest.path(0, "volume")
    hook = slice_tower(model).register_forward_pre_hook(lambda *_: os.utime(path, ns=(5, 5)))  # its slices are read
    assert write_slice_features(model, manifest, VIEWS, folder / "changed").made == 1
    hook.remove()
    assert write_slice_features(model, manifest, VIEWS, folder / "changed").made == 1
    assert write_slice_features(model, manifest, VIEWS, folder / "changed").made == 0


def test_unreadable_volumes_are_listed_and_left_out(folder: Path) -> None:
    manifest = volume_cohort(folder / "bad")
    (manifest.root / "v1.nii.gz").write_bytes(b"")
    os.truncate(manifest.root / "v2.nii", 400)
    model = build_model(STACKS, tokenizer=WORDS).eval()
    done = write_slice_features(model, manifest, VIEWS, folder / "bad_out")
    assert [(entry.id, entry.reason) for entry in done.left_out] == [("s1", "empty"), ("s2", "truncated")]
    assert done.manifest.column("id").tolist() == ["s0", "s3", "s4", "s5"]
    with pytest.raises(DataError, match=r"None of the \d records can be read \(.*\); the first is 's1': "):
        write_slice_features(model, manifest.take([1, 2]), VIEWS, folder / "worse")


def test_a_tower_of_pictures_looks_at_each_slice(folder: Path) -> None:
    """Its bundle must be told the windows; the features are those of the same tower in a model of stacks."""
    manifest = volume_cohort(folder / "pictures")
    manifest.save(folder / "pictures.parquet")
    pictures = build_model({**MODEL}, tokenizer=WORDS).eval()
    save_bundle(folder / "image", Bundle(pictures, WORDS, preprocessing=[{"name": "read", "size": 32}]))
    common: dict[str, Any] = {"root": manifest.root, "folder": folder / "by_image", "workers": 1}
    with pytest.raises(UserError, match=r"say in which windows it shall see slices.* --window"):
        embed_slices(folder / "image", folder / "pictures.parquet", windows=[], **common)
    with pytest.raises(ConfigError, match=r"takes images of shape \(R, 1, H, W\)"):
        embed_slices(folder / "image", folder / "pictures.parquet", windows=["ct_lung_v1", "ct_bone_v1"], **common)
    done = embed_slices(folder / "image", folder / "pictures.parquet", windows=["ct_lung_v1"], **common)
    stacks = build_model(STACKS, tokenizer=WORDS).eval()
    slice_tower(stacks).load_state_dict(slice_tower(pictures).state_dict())
    assert tower_hash(slice_tower(stacks)) == tower_hash(slice_tower(pictures))
    again = write_slice_features(stacks, manifest, VIEWS, folder / "by_stack")
    for one, other in zip(_files(done.manifest), _files(again.manifest), strict=True):
        torch.testing.assert_close(FileStack(one).take().pixels, FileStack(other).take().pixels, atol=1e-5, rtol=1e-4)


def _files(manifest: Manifest) -> list[Path]:
    return [path for row in range(len(manifest)) for path in manifest.paths(row, "stack")]


def test_a_second_command_in_one_folder_is_refused_and_what_a_killed_one_left_goes(tmp_path: Path) -> None:
    manifest, model = volume_cohort(tmp_path / "ct").take([0, 1]), build_model(STACKS, tokenizer=WORDS).eval()

    def both(done: int, total: int) -> None:
        with pytest.raises(UserError, match=r"^Another command is at work in .*: wait for it, or name another folder"):
            write_slice_features(model, manifest, VIEWS, tmp_path / "out")

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".a.safetensors.7.part").write_bytes(b"half")
    write_slice_features(model, manifest, VIEWS, tmp_path / "out", progress=both)
    assert not list((tmp_path / "out").glob("*.part"))


VIT = {"name": "timm", "architecture": "vit_tiny_patch16_224", "image_size": 32, "channels": 1}
VIT |= {"options": {"embed_dim": 16, "depth": 1, "num_heads": 2}}


@pytest.mark.parametrize(
    "vision", [{"name": "inflated", "slice": VISION}, {"name": "x_clip", "slice": VIT}, {"name": "ila", "slice": VIT}]
)
def test_a_tower_whose_slices_know_of_each_other_makes_no_features_of_one(vision: dict[str, Any]) -> None:
    model = build_model({**STACKS, "vision": vision}, tokenizer=WORDS)
    with pytest.raises(ConfigError, match="looks at several slices at once"):
        slice_tower(model)
