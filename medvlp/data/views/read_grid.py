"""``read_grid``: a volume on a grid of fixed size and spacing, as models of whole volumes were trained on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from medvlp.core.errors import DataError
from medvlp.core.fields import parse_field
from medvlp.core.sample import Sample, Stack
from medvlp.data.marks import placed
from medvlp.data.quantise import Bits, quantise
from medvlp.data.views._options import require, volume_in
from medvlp.data.views._volume_records import grid_record
from medvlp.io.volume import Volume
from medvlp.io.volume_display import ready_from
from medvlp.io.volume_read import read_volume

_HUNG = "LPS"  # columns to the patient's left, rows to the back, slices to the head


@dataclass(frozen=True, kw_only=True)
class ReadGrid:
    """Path -> stack (S, 1, H, W) in [0, 1], hung as `read_volume` hangs axial slices; made by MONAI's transforms.

    The volume is turned to `codes`, resampled linearly to `spacing`, scaled from `low` and `high` to 0 and 1, padded
    with 0 and cut at its middle to `size`: in this order, in these directions, which is what roundings depend on.
    Without a spacing it is scaled, cut to the box of all that is above `low`, and squeezed to `size` by areas. With
    `whole` it is scaled first and then squeezed to a whole number of voxels, edge on edge, so that the spacing is hit
    but nearly, as CT-CLIP does.

    Attributes:
        size: of the grid along x, y and z.
        spacing: in mm along x, y and z; None: whatever makes the volume fill `size`.
        low: value that becomes 0, HU for CT.
        high: value that becomes 1.
        codes: directions of the axes while it is made, such as ``RAS``.
        whole: whether the spacing is met by whole voxels alone.
        bits: 8, 16, or 32 for unrounded.
        on_gap: of missing slices, see `medvlp.io.read_volume`.
        on_tilt: of a tilted gantry, see there.
        field: the volume field, which is gone afterwards; a `medvlp.io.Volume` there is taken as it is.
        to: the stack field that is written.

    Raises:
        UnreadableImage: as `medvlp.io.read_volume`; ``preset_mismatch`` of other than Hounsfield units from below 0.
        DataError: of no spacing, for a volume with nothing above `low`.
        ConfigError: for fields of another kind, or an empty window.

    Example:
        >>> from medvlp.io.affine import Affine
        >>> air = Volume(np.full((3, 8, 8), -1000, np.float32), Affine(np.diag([-1.0, -1.0, 5.0, 1.0])))
        >>> view = ReadGrid(size=(6, 6, 4), spacing=(2.0, 2.0, 5.0))
        >>> view(Sample("a", {"volume": air}), torch.Generator()).fields["stack"].pixels.shape
        torch.Size([4, 1, 6, 6])
    """

    random: ClassVar[bool] = False

    size: tuple[int, int, int] = (224, 224, 160)
    spacing: tuple[float, float, float] | None = (1.5, 1.5, 3.0)
    low: float = -1000.0
    high: float = 1000.0
    codes: Literal["RAS", "LPS"] = "RAS"
    whole: bool = False
    bits: Bits = 32
    on_gap: Literal["error", "resample"] = "error"
    on_tilt: Literal["error", "shear", "resample"] = "error"
    field: str = "volume"
    to: str = "stack"

    def __post_init__(self) -> None:
        fits = (parse_field(self.field).kind, parse_field(self.to).kind) == ("volume", "stack")
        fits = fits and min(self.size) >= 1 and min(self.spacing or (1,)) > 0 and self.low < self.high
        takes = "makes a stack of a volume, of a size and spacing above 0, from low to high"
        require(self, fits and not (self.whole and self.spacing is None), takes)

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Read the volume."""
        from monai.data.meta_tensor import MetaTensor
        from monai.transforms.compose import Compose
        from monai.transforms.croppad.array import CenterSpatialCrop, CropForeground, SpatialPad
        from monai.transforms.intensity.array import ScaleIntensityRange
        from monai.transforms.spatial.array import Orientation, Resize, Spacing

        source = volume_in(sample, self.field)
        if source is None:
            return sample
        volume = source if isinstance(source, Volume) else read_volume(source, None, self.on_gap, self.on_tilt)
        volume = ready_from(self.low, volume, view="read_grid")
        world = np.array(volume.affine.to("RAS").matrix)
        turn = Orientation(axcodes=self.codes, labels=(("L", "R"), ("P", "A"), ("I", "S")))
        shown = ScaleIntensityRange(self.low, self.high, 0.0, 1.0, clip=True)
        made: Any = turn(MetaTensor(torch.from_numpy(volume.voxels.T[None].copy()), affine=torch.from_numpy(world)))
        ends = [SpatialPad(self.size), CenterSpatialCrop(self.size)]
        if self.spacing is None:
            if not bool((made > self.low).any()):
                raise DataError(f"{sample.id!r} holds nothing above {self.low:g} to lay a grid around: leave it out.")
            chain = Compose([shown, CropForeground(), Resize(self.size, mode="area")])
        elif self.whole:
            mm = np.linalg.norm(np.asarray(made.affine)[:3, :3], axis=0) / self.spacing
            # Rounded first: a header's 0.7 in single precision is a little less.
            cells = [max(1, int(n)) for n in np.round(mm * made.shape[1:], 3)]
            chain = Compose([shown, Resize(cells, mode="trilinear", align_corners=False, dtype=torch.float64), *ends])
        else:
            chain = Compose([Spacing(pixdim=self.spacing, mode="bilinear"), shown, *ends])
        made = chain(made)
        turned = [axis for axis in range(3) if self.codes[axis] != _HUNG[axis]]
        pixels = made.as_tensor()[0].flip(turned).permute(2, 1, 0)[:, None].float()
        flip = np.eye(4)
        for axis in turned:
            flip[axis, axis], flip[axis, 3] = -1.0, self.size[axis] - 1.0
        grid = np.asarray(made.affine, dtype=np.float64) @ flip
        columns, rows, slices = self.size
        middles = np.array([[(columns - 1) / 2, (rows - 1) / 2, k, 1.0] for k in range(slices)])
        position = torch.from_numpy((middles @ grid.T)[:, :3].astype(np.float32))
        record = grid_record(volume, world, grid, self.size)
        stack = Stack(quantise(pixels.contiguous(), self.bits), position)
        return placed(sample, self.field, stack, record, to=self.to)
