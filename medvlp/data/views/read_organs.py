"""``read_organs``: a volume as one window around each of its organs, as fVLM was trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.fields import parse_field
from medvlp.core.sample import ImageRecord, Sample, Stack
from medvlp.data.marks import Drawn
from medvlp.data.mask_files import mask_of, mask_path, within
from medvlp.data.quantise import Bits, quantise
from medvlp.data.views._options import volume_in
from medvlp.data.views._organ_windows import resampled, windows
from medvlp.io.member import size_and_time
from medvlp.io.volume import Volume
from medvlp.io.volume_display import ready_from
from medvlp.io.volume_read import read_volume

_TOTAL: dict[str, tuple[int, ...]] = {
    "lung": (10, 11, 12, 13, 14),
    "heart": (51, 61),
    "esophagus": (15,),
    "aorta": (52,),
}
_SAME = 1e-3  # mm: grids that differ by less are one
_ENDINGS = (".gz", ".nii", ".dcm", ".zip")


@dataclass(frozen=True, kw_only=True)
class ReadOrgans:
    """Path -> stack (O S, 2, H, W): the windows of O organs one after the other, hung as `read_volume` hangs slices.

    The volume is squeezed to whole voxels of about `spacing`, scaled from `low` and `high` to 0 and 1, cut to the box
    around all organs, and padded with 0 to `least`. Each organ's window has its middle at that of the organ's box and
    is `window`, or the organ where that is larger; it is moved inwards at the edge and padded to blocks of `patch`. The
    second channel is 1 in the organ, 1/2 elsewhere in the window, 0 where the stack is larger than it. So does fVLM's
    evaluation (Shui et al., ICLR 2025).

    An organ is the manifest's mask ``mask.ORGAN`` of the volume or, where there is none, the values that `organs` names
    in the file `masks`: lung, heart, oesophagus and aorta by the numbers of TotalSegmentator's task ``total``
    (``TotalSegmentator -i ct/a.nii.gz -o organs/a.nii.gz --ml``) where nothing is named. Boxes and masks of the volume
    have no one place in such a stack and are left out.

    Attributes:
        organs: organ -> its values; None: those four.
        masks: place of a volume's organ file as seen from the volume's folder; ``{name}`` is the volume's, less its
            ending.
        window: least size of a window along x, y and z, in voxels of `spacing`.
        least: size along x, y and z to which the cut volume is padded.
        patch: along x, y and z.
        spacing: in mm along x, y and z.
        low: value that becomes 0, HU for CT.
        high: value that becomes 1.
        bits: 8, 16, or 32 for unrounded.
        on_gap: of missing slices, see `medvlp.io.read_volume`.
        on_tilt: of a tilted gantry, see there.
        field: the volume field, which is gone afterwards; a `medvlp.io.Volume` there is taken as it is.
        to: the stack field that is written.

    Raises:
        UnreadableImage: as `medvlp.io.read_volume`, of the volume or of its masks; ``preset_mismatch`` as `read_grid`.
        DataError: if an organ's mask is not there, is empty, or lies on another grid than the volume.
        ConfigError: for fields of another kind, an empty window of values, or `masks` without ``{name}``.

    Example:
        >>> view = ReadOrgans(organs={"heart": (51, 61)})
        >>> view.beside(Sample("a", {"volume": "/ct/a.nii.gz"}))
        {'heart#51,61': PosixPath('/ct/../organs/a.nii.gz')}
    """

    random: ClassVar[bool] = False

    organs: dict[str, tuple[int, ...]] | None = None
    masks: str = "../organs/{name}.nii.gz"
    window: tuple[int, int, int] = (352, 288, 112)
    least: tuple[int, int, int] = (352, 256, 112)
    patch: tuple[int, int, int] = (32, 16, 16)
    spacing: tuple[float, float, float] = (1.0, 1.0, 3.0)
    low: float = -1150.0
    high: float = 350.0
    bits: Bits = 32
    on_gap: Literal["error", "resample"] = "error"
    on_tilt: Literal["error", "shear", "resample"] = "error"
    field: str = "volume"
    to: str = "stack"

    def __post_init__(self) -> None:
        kinds = parse_field(self.field).kind, parse_field(self.to).kind
        sizes = min(*self.window, *self.least, *self.patch, *self.spacing)
        if kinds != ("volume", "stack") or not self.of or self.low >= self.high or sizes <= 0:
            raise ConfigError(
                f"read_organs makes a stack of a volume, of sizes above 0, from {self.low:g} to {self.high:g}, around "
                f"an organ or more, not {self.to!r} of {self.field!r} around {', '.join(self.of) or 'none'}."
            )
        if "{name}" not in self.masks:
            raise ConfigError(f"read_organs.masks is {self.masks!r}: write {{name}} where the volume's name stands.")

    @property
    def of(self) -> dict[str, tuple[int, ...]]:
        """Organ -> its values."""
        return _TOTAL if self.organs is None else self.organs

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Read the volume and its organs."""
        source = volume_in(sample, self.field)
        if source is None:
            return sample
        volume = source if isinstance(source, Volume) else read_volume(source, None, self.on_gap, self.on_tilt)
        volume = ready_from(self.low, volume, view="read_organs")
        files = {
            organ: (values, path) for key, path in self.beside(sample).items() for organ, values in [key.split("#")]
        }
        lost = [organ for organ in self.of if organ not in files]
        if lost:
            raise DataError(f"{sample.id!r} has no mask.{lost[0]}: give the mask of that organ.")
        masks = np.stack([organ_mask(organ, *files[organ], volume) for organ in self.of])
        grid = resampled(volume, masks, self.spacing, self.least, (self.low, self.high))
        pixels, position = windows(*grid, window=self.window[::-1], patch=self.patch[::-1])
        whole = (0.0, 0.0, float(volume.shape[2]), float(volume.shape[1]))
        record = ImageRecord(seed=0, box=whole, warnings=volume.warnings)
        gone = ("boxes", "mask")
        fields = {n: v for n, v in sample.fields.items() if n != self.field and n.partition(".")[0] not in gone}
        fields[self.to] = Stack(quantise(pixels.transpose(1, 2).flatten(0, 1).contiguous(), self.bits), position)
        return Sample(sample.id, fields, {**sample.records, self.to: record})

    def beside(self, sample: Sample) -> dict[str, Path]:
        """Organ and values -> file, of those that a sample has: what is made depends on them."""
        source, found = sample.fields.get(self.field), {}
        for organ, values in self.of.items():
            drawn = sample.fields.get(f"mask.{organ}")
            if isinstance(drawn, Drawn):
                path, values = mask_path(str(drawn.plain or ""))
                found |= {f"{organ}#{_listed(values)}": within(drawn.root, path)} if path else {}
            elif isinstance(source, str):
                found[f"{organ}#{_listed(values)}"] = mask_beside(source, self.masks)
        return found


def _listed(values: Sequence[int]) -> str:
    return ",".join(map(str, values))


def mask_beside(volume: str, place: str) -> Path:
    """Return the file at a place as seen from a volume's folder; ``{name}`` is the volume's, less its ending.

    Example:
        >>> mask_beside("/ct/a.nii.gz", "../organs/{name}.nii.gz").as_posix()
        '/ct/../organs/a.nii.gz'
    """
    name = Path(volume).name
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return Path(volume).resolve().parent / place.format(name=name)


def organ_mask(organ: str, values: str, file: Path, volume: Volume) -> np.ndarray:
    """Return where an organ lies in a volume, bool (Z, Y, X).

    Args:
        organ: its name, for error sentences.
        values: of the file that are the organ's, such as ``10,11``; empty: all but 0.
        file: on the grid of the volume.
        volume: as it was read.

    Raises:
        DataError: if the file is not there, lies on another grid, or holds no such organ.
        UnreadableImage: as `medvlp.io.read_volume`.
    """
    path = file.resolve()
    try:
        size_and_time(path)
    except OSError:
        raise DataError(
            f"The {organ} is looked for in {path}, which is not there: write it with a segmenter "
            f"(TotalSegmentator -i VOLUME -o {path} --ml), or convert the model with masks=PLACE."
        ) from None
    mask = mask_of(f"{path.name}#{values}" if values else path.name, path.parent)
    there = volume.affine.to("RAS").matrix
    if mask.pixels.shape != volume.shape or (mask.affine is not None and np.abs(mask.affine - there).max() > _SAME):
        raise DataError(
            f"{path} has {mask.pixels.shape} voxels, or another place, and its volume {volume.shape}: segment the "
            "volume as it is."
        )
    if not mask.pixels.any():
        raise DataError(f"{path} holds no {organ}, and no score can be made without it: leave this volume out.")
    return mask.pixels
