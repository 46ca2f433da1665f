"""``read_organs``: a volume as one window around each of its organs, as fVLM was trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.fields import parse_field
from medvlp.core.sample import ImageRecord, Sample, Stack
from medvlp.data.marks import Drawn
from medvlp.data.mask_files import mask_of, mask_path, within
from medvlp.data.quantise import Bits, quantise
from medvlp.data.views._options import volume_in
from medvlp.io.member import size_and_time
from medvlp.io.volume import Volume
from medvlp.io.volume_read import read_volume

__all__ = ["ReadOrgans"]

_SAME = 1e-3  # mm: grids that differ by less are one
_MARGIN = (5, 20, 20)  # voxels of the resampled volume around all organs together
_TOTAL: dict[str, tuple[int, ...]] = {
    "lung": (10, 11, 12, 13, 14),
    "heart": (51, 61),
    "esophagus": (15,),
    "aorta": (52,),
}
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
        UnreadableImage: as `medvlp.io.read_volume`, of the volume or of its masks.
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

    @property
    def adds(self) -> tuple[str, ...]:
        """The stack."""
        return (self.to,)

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Read the volume and its organs."""
        source = volume_in(sample, self.field)
        if source is None:
            return sample
        volume = source if isinstance(source, Volume) else read_volume(source, None, self.on_gap, self.on_tilt)
        files = {
            organ: (values, path) for key, path in self.beside(sample).items() for organ, values in [key.split("#")]
        }
        lost = [organ for organ in self.of if organ not in files]
        if lost:
            raise DataError(f"{sample.id!r} has no mask.{lost[0]}: give the mask of that organ.")
        masks = np.stack([self._organ(organ, *files[organ], volume) for organ in self.of])
        shown, organs, places = self._resampled(volume, masks)
        pixels, corners = _windows(shown, organs, window=self.window[::-1], patch=self.patch[::-1])
        columns, rows, slices = pixels.shape[4], pixels.shape[3], pixels.shape[2]
        ends = np.array([[(columns - 1) / 2, (rows - 1) / 2, k, 1.0] for k in range(slices)])
        middles = [(ends + np.array([*corner[::-1], 0.0])) @ places.T for corner in corners]
        position = torch.from_numpy(np.concatenate(middles)[:, :3]).float()
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
                name = Path(source).name
                for ending in _ENDINGS:
                    name = name.removesuffix(ending)
                found[f"{organ}#{_listed(values)}"] = Path(source).resolve().parent / self.masks.format(name=name)
        return found

    def _organ(self, organ: str, values: str, file: Path, volume: Volume) -> np.ndarray:
        """Return an organ, bool (Z, Y, X)."""
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

    def _resampled(self, volume: Volume, masks: np.ndarray) -> tuple[Tensor, Tensor, np.ndarray]:
        """Return the cut and padded volume (S, H, W), its organs (O, S, H, W), and (x, y, z, 1) of it -> RAS mm."""
        from monai.data.meta_tensor import MetaTensor
        from monai.transforms.spatial.array import Orientation

        there = torch.from_numpy(volume.affine.to("RAS").matrix.copy())
        turn = Orientation(axcodes="LPS", labels=(("L", "R"), ("P", "A"), ("I", "S")))
        held = np.concatenate([volume.voxels[None], masks.astype(np.float32)]).transpose(0, 3, 2, 1).copy()
        made: Any = turn(MetaTensor(torch.from_numpy(held), affine=there))
        world, values = np.asarray(made.affine, dtype=np.float64), made.as_tensor().float()
        mm = np.linalg.norm(world[:3, :3], axis=0) / self.spacing
        # Rounded first: a header's 0.7 in single precision is a little less.
        cells = [max(1, int(n)) for n in np.round(mm * values.shape[1:], 3)]
        shown = F.interpolate(values[None, :1], size=cells, mode="trilinear", align_corners=False)[0, 0]
        shown = ((shown - self.low) / (self.high - self.low)).clamp(0, 1).permute(2, 1, 0)
        organs = F.interpolate(values[None, 1:], size=cells, mode="nearest")[0].permute(0, 3, 2, 1) > 0.5
        if not organs.flatten(1).any(dim=1).all():
            raise DataError(f"An organ is smaller than a voxel of {self.spacing} mm: leave this volume out.")
        cut = [
            (max(0, first - margin), min(n, last + margin))
            for (first, last), margin, n in zip(_box(organs.any(dim=0)), _MARGIN, shown.shape, strict=True)
        ]
        s, h, w = (slice(*ends) for ends in cut)
        lack = [max(0, least - (last - first)) for (first, last), least in zip(cut, self.least[::-1], strict=True)]
        around = [side for n in lack[::-1] for side in (n // 2, n - n // 2)]
        start = np.array([first - n // 2 for (first, _), n in zip(cut, lack, strict=True)][::-1])
        scale = np.array(values.shape[1:]) / cells
        step = np.diag([*scale, 1.0])
        step[:3, 3] = (start + 0.5) * scale - 0.5
        return F.pad(shown[s, h, w], around), F.pad(organs[:, s, h, w], around), world @ step


def _windows(
    shown: Tensor, organs: Tensor, *, window: Sequence[int], patch: Sequence[int]
) -> tuple[Tensor, list[list[int]]]:
    """Return the windows (O, 2, S, H, W), and the first voxel of each."""
    places = []
    for organ in organs:
        place = []
        for (first, last), least, size in zip(_box(organ), window, shown.shape, strict=True):
            length = max(least, last - first)
            start = max(0, (first + last) // 2 - length // 2)
            end = min(size, start + length)
            place.append((max(0, end - length), end))
        places.append(place)
    padded = [[-(-(b - a) // p) * p for (a, b), p in zip(place, patch, strict=True)] for place in places]
    room = [
        max(each) for each in zip(*padded, [-(-n // p) * p for n, p in zip(window, patch, strict=True)], strict=True)
    ]
    made = torch.zeros(len(organs), 2, *room)
    for into, organ, place, (s, h, w) in zip(made, organs, places, padded, strict=True):
        into[1, :s, :h, :w] = 0.5
        (z0, z1), (y0, y1), (x0, x1) = place
        into[0, : z1 - z0, : y1 - y0, : x1 - x0] = shown[z0:z1, y0:y1, x0:x1]
        into[1, : z1 - z0, : y1 - y0, : x1 - x0] += organ[z0:z1, y0:y1, x0:x1] * 0.5
    return made, [[first for first, _ in place] for place in places]


def _box(mask: Tensor) -> list[tuple[int, int]]:
    """Return the first and the last voxel of a mask (S, H, W) along each axis."""
    found = mask.nonzero()
    return list(zip(found.amin(dim=0).tolist(), found.amax(dim=0).tolist(), strict=True))


def _listed(values: Sequence[int]) -> str:
    return ",".join(map(str, values))
