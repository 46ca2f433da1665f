"""``read_volume``: the file or folder of a volume becomes its slices, hung one way, in windows, at places in mm."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.fields import parse_field
from medvlp.core.sample import Sample
from medvlp.data.marks import placed
from medvlp.data.quantise import Bits, quantise
from medvlp.data.stacks import MadeStack
from medvlp.data.views._options import volume_in
from medvlp.data.views._volume_records import slices_record
from medvlp.io.ct_rate import ct_rate_hu
from medvlp.io.presets import volume_preset_names
from medvlp.io.resize import resample_weights, resize_pad, whole
from medvlp.io.volume import Volume
from medvlp.io.volume_display import AIR_BELOW, curve_of, unit_warnings, volume_recipe
from medvlp.io.volume_read import read_volume
from medvlp.io.volume_slices import Axis, VolumeSlices, open_slices, slices_of

_CT_RATE = re.compile(r"(?:train|valid)_\d+_[a-z]+_\d+")  # as it names its volumes
_SIDE_CAR = ("rescale_slope", "rescale_intercept", "spacing_z", "spacing_y", "spacing_x")


@dataclass(frozen=True, kw_only=True)
class ReadVolume:
    """Path -> stack of slices (S, C, size, size) in [0, 1] with the middle of each in RAS mm; C windows.

    Slices hang as a radiologist looks at them, the patient's left at the viewer's right hand (`medvlp.io.open_slices`
    has the table), whatever the order of axes in the file. In the plane, aspect is kept in mm and padded with black.
    There are as many slices as the volume has, or one every `slice_mm`; a thicker slice is the mean of those in it, and
    one between two is interpolated. Slices are read and made when somebody takes them, or when the cache is filled; of
    an unpacked NIfTI file only those are read.

    Attributes:
        size: side in pixels.
        windows: a channel each: presets for volumes (CT windows, ``mr_percentile_v1``).
        axis: across which the volume is cut: ``acquisition``, ``axial``, ``coronal`` or ``sagittal``.
        slice_mm: distance of slices, as near as a whole number of them comes to it; None: those that there are.
        bits: 8, 16, or 32 for unrounded.
        on_gap: of missing slices, see `medvlp.io.read_volume`.
        on_tilt: of a tilted gantry, see there.
        side_car: ``ct_rate``: rescale and spacing stand in the manifest's numbers, see `medvlp.io.ct_rate_hu`; a volume
            of another source, of which nothing stands there, must show a chest in Hounsfield units as it is. Headers of
            CT-RATE's own, known by names like ``train_1_a_1``, state another spacing than its tables, and are refused.
        field: the volume field, which is gone afterwards; a `medvlp.io.Volume` there is taken as it is.
        to: the stack field that is written.

    Raises:
        UnreadableImage: as `medvlp.io.read_volume`.
        ConfigError: if an option is not allowed.

    Example:
        >>> from medvlp.io.affine import Affine
        >>> air = Volume(np.full((3, 8, 8), -1000, np.float32), Affine(np.diag([-1.0, -1.0, 5.0, 1.0])))
        >>> fields = ReadVolume(size=8)(Sample("a", {"volume": air}), torch.Generator()).fields
        >>> fields["stack"].take([2]).pixels.shape, fields["stack"].position[2].tolist()
        (torch.Size([1, 3, 8, 8]), [-3.5, -3.5, 10.0])
    """

    random: ClassVar[bool] = False

    size: int = 224
    windows: tuple[str, ...] = ("ct_lung_v1", "ct_mediastinum_v1", "ct_bone_v1")
    axis: Axis = "acquisition"
    slice_mm: float | None = None
    bits: Bits = 8
    on_gap: Literal["error", "resample"] = "error"
    on_tilt: Literal["error", "shear", "resample"] = "error"
    side_car: Literal["none", "ct_rate"] = "none"
    field: str = "volume"
    to: str = "stack"

    def __post_init__(self) -> None:
        kinds = parse_field(self.field).kind, parse_field(self.to).kind
        if kinds != ("volume", "stack") or self.size < 8 or not (self.slice_mm is None or self.slice_mm > 0):
            raise ConfigError(
                f"read_volume makes a stack of a volume, of at least 8 pixels and slices at a distance above 0 mm, not "
                f"{self.to!r} of {self.field!r}, {self.size} pixels and {self.slice_mm} mm: change these."
            )
        if not self.windows:
            fitting = ", ".join(volume_preset_names())
            raise ConfigError(
                f"read_volume shows a volume in one or more presets: change windows to some of {fitting}."
            )
        for name in self.windows:
            volume_recipe(name)

    @property
    def numbers(self) -> tuple[str, ...]:
        """The number fields that it reads."""
        return () if self.side_car == "none" else tuple(f"number.{name}" for name in _SIDE_CAR)

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Open the volume."""
        source = volume_in(sample, self.field)
        if source is None:
            return sample
        slices = self._opened(source, sample)
        modality = str(slices.meta.get("Modality", ""))
        curves = [curve_of(name, meta=slices.meta, values=slices.values) for name in self.windows]
        wanted = self.slice_mm and whole(len(slices) * slices.step / self.slice_mm)
        thick = resample_weights(len(slices), wanted) if wanted else None
        depth = len(slices) if thick is None else thick.indptr.size - 1
        # Middles of equal parts of the reach; of as many parts as slices, the slices themselves.
        middles = (np.arange(depth) + 0.5) * (len(slices) / depth) - 0.5

        def make(number: int) -> Tensor:
            values = slices.read([number])[0] if thick is None else _mean(slices, thick, number)
            shown = [resize_pad(curve(values), self.size, spacing=slices.spacing).pixels for curve in curves]
            return quantise(torch.from_numpy(np.stack(shown)), self.bits)

        position = torch.from_numpy(np.array([slices.position(n) for n in middles], np.float32))
        stack = MadeStack(make, position, (len(curves), self.size, self.size))
        units = unit_warnings(map(volume_recipe, self.windows), modality, has_air=lambda: _has_air(slices))
        record = slices_record(slices, self.size, depth, (*slices.warnings, *units))
        return placed(sample, self.field, stack, record, to=self.to)

    def _opened(self, source: str | Volume, sample: Sample) -> VolumeSlices:
        if self.side_car == "none" and isinstance(source, str):
            return open_slices(source, axis=self.axis, on_gap=self.on_gap, on_tilt=self.on_tilt)
        volume = source if isinstance(source, Volume) else read_volume(source, None, self.on_gap, self.on_tilt)
        if self.side_car == "ct_rate":
            known = [float(v) for v in map(sample.fields.get, self.numbers) if isinstance(v, float)]
            if not known and not _CT_RATE.search(f"{sample.id} {source if isinstance(source, str) else ''}"):
                known = [1.0, 0.0, *volume.spacing]
            if len(known) < len(self.numbers):
                raise DataError(
                    f"{sample.id!r} lacks a rescale or a spacing: index CT-RATE with its metadata tables, or leave "
                    "side_car out."
                )
            volume = ct_rate_hu(volume, known[0], known[1], (known[2], known[3], known[4]))
        return slices_of(volume, self.axis)


def _mean(slices: VolumeSlices, thick: csr_array, number: int) -> np.ndarray:
    """A slice as the mean of others; `thick` (new, slices) has the share of each."""
    part = slice(thick.indptr[number], thick.indptr[number + 1])
    values = slices.read(thick.indices[part].tolist())
    return np.add.reduce(values * thick.data[part][:, None, None], axis=0, dtype=np.float32)


def _has_air(slices: VolumeSlices) -> bool:
    """Whether there is air in three of the slices."""
    return bool((slices.read(sorted({0, len(slices) // 2, len(slices) - 1})) < AIR_BELOW).any())
