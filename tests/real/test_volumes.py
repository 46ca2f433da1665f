"""CT and MR volumes of the data packs as stacks: right way up against nibabel's affine, also through the cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from medvlp.core.sample import Sample
from medvlp.data.cache import Cache
from medvlp.data.loader import Loader
from medvlp.data.manifest import Manifest
from medvlp.data.pipeline import apply_views
from medvlp.data.prepare import prepare
from medvlp.data.stacks import LazyStack
from medvlp.data.views.augment3d import Augment3d
from medvlp.data.views.read_volume import ReadVolume
from medvlp.data.views.sample_slices import SampleSlices
from medvlp.io.volume_slices import open_slices
from medvlp.models.encoders.inflated import InflatedEncoder

TOWER = {"name": "timm", "architecture": "resnet10t", "image_size": 64, "norm": "group"}
FILES = {"example_ct": 112, "example_ct_sm": 30, "example_mr_sm": 20, "chest_cta_crop": 112}
# Where slices, rows and columns run to, in RAS.
TOWARDS = {
    "axial": ((0, 0, 1), (0, -1, 0), (-1, 0, 0)),
    "coronal": ((0, -1, 0), (0, 0, -1), (-1, 0, 0)),
    "sagittal": ((-1, 0, 0), (0, 0, -1), (0, -1, 0)),
}


@pytest.mark.parametrize("name", list(FILES))
@pytest.mark.parametrize("plane", list(TOWARDS))
def test_every_slice_is_the_voxels_that_nibabel_puts_there(pack: Callable[[str], Path], name: str, plane: str) -> None:
    path = pack("ct-nifti") / "images" / f"{name}.nii.gz"
    image = nibabel.load(path)
    voxels, affine = np.asarray(image.dataobj), image.affine
    slices = open_slices(path, axis=plane)  # type: ignore[arg-type]
    for number in (0, len(slices) // 3, len(slices) - 1):
        shown = slices.read([number])[0]
        # From the middle of the slice by whole pixels down and to the right, as the plane's table says, to its corner.
        rows, columns = shown.shape
        down, right = (np.array(way) for way in TOWARDS[plane][1:])
        corner = slices.position(number)
        corner = corner - down * slices.spacing[0] * (rows - 1) / 2 - right * slices.spacing[1] * (columns - 1) / 2
        for row, column in ((0, 0), (rows - 1, 3), (7, columns - 1), (rows // 2, columns // 3)):
            place = corner + down * slices.spacing[0] * row + right * slices.spacing[1] * column
            index = np.linalg.solve(affine, [*place, 1])[:3]
            assert np.abs(index - index.round()).max() < 1e-3
            assert shown[row, column] == voxels[tuple(index.round().astype(int))]


def test_the_spine_of_an_abdomen_lies_behind_and_the_liver_at_the_viewers_left(pack: Callable[[str], Path]) -> None:
    """Anatomy, not arithmetic: in an axial slice the spine is low in the picture, the liver at the left hand."""
    folder = pack("ct-nifti")
    label = open_slices(folder / "labels" / "example_seg_fast_force_split.nii.gz", axis="axial")
    names = {int(k): v for k, v in _json(folder / "labels" / "class_map_total.json").items()}
    values = label.read(range(len(label)))

    def middle(word: str) -> np.ndarray:
        chosen = np.isin(values, [k for k, name in names.items() if word in name])
        assert chosen.any(), word
        return np.argwhere(chosen).mean(0) / values.shape

    spine, liver, spleen, bladder = middle("vertebrae"), middle("liver"), middle("spleen"), middle("urinary_bladder")
    assert spine[1] > 0.5
    assert liver[2] < 0.5 < spleen[2]
    assert bladder[0] < liver[0], "slices run to the head"


def _json(path: Path) -> dict[str, str]:
    import json

    return json.loads(path.read_text())


def test_ct_and_mr_are_batches_of_drawn_slices(pack: Callable[[str], Path], tmp_path: Path) -> None:
    root = pack("ct-nifti") / "images"
    for names, windows in (
        (("example_ct", "chest_cta_crop", "example_ct_sm"), ("ct_lung_v1", "ct_mediastinum_v1", "ct_bone_v1")),
        (("example_mr_sm",), ("mr_percentile_v1",)),
    ):
        columns = {"id": list(names), "volume": [f"{name}.nii.gz" for name in names]}
        views = [ReadVolume(size=64, windows=windows)]
        prepared = prepare(Manifest.of(columns, root=root), views, cache=Cache(tmp_path / "cache"))
        for index, name in enumerate(names):
            want = apply_views(Sample(name, {"volume": str(root / f"{name}.nii.gz")}), views).fields["stack"]
            stored = prepared.sample(index).fields["stack"]
            assert isinstance(want, LazyStack)
            assert isinstance(stored, LazyStack)
            assert len(stored) == FILES[name]
            assert torch.equal(stored.take([3, 11]).pixels, want.take([3, 11]).pixels)
            assert float(stored.take([10]).pixels.std()) > 0.05
        suffix = [SampleSlices(count=12, how="jittered"), Augment3d()]
        batch = next(iter(Loader(prepared, suffix, batch=len(names), seed=0)))
        column = batch["stack"]
        assert isinstance(column.values, torch.Tensor)
        assert column.values.shape == (len(names), 12, len(windows), 64, 64)
        assert column.position is not None
        gaps = column.position.diff(dim=1).norm(dim=-1)
        assert float(gaps.min()) > 0
        tower = InflatedEncoder(slice={**TOWER, "channels": len(windows)}).eval()
        with torch.no_grad():
            rows = tower(column.values, parts=frozenset({"pooled"}), mask=column.mask, position=column.position)
            alone = tower(column.values[:1], parts=frozenset({"pooled"}))
        torch.testing.assert_close(rows.part("pooled")[:1], alone.part("pooled"), atol=1e-4, rtol=1e-3)
