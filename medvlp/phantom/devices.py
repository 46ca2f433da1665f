"""The sites, their devices, and how each device draws and files its pictures.

Every device differs twice: in its *look* (what the detector and its processing make of a chest) and in its *convention*
(how that picture is put into DICOM: bits, polarity, window or LUT, rescale, padding, compression). Shown as the
standard says (modality, then VOI, then polarity), each picture has bright bones; read otherwise, some are dark, flat or
inverted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from medvlp.phantom._files import read_facts
from medvlp.phantom.facts import View
from medvlp.phantom.radiograph import DetectorLook

if TYPE_CHECKING:
    import numpy as np

SITES: tuple[str, ...] = ("north", "south", "east")

Voi = Literal["none", "linear", "linear_exact", "several", "sigmoid", "lut"]
Syntax = Literal["explicit", "implicit", "rle", "jpeg2000", "jpegls"]


@dataclass(frozen=True, slots=True)
class Convention:
    """How a device files its pictures.

    Attributes:
        sop: ``"DX"`` (Digital X-Ray for presentation) or ``"CR"`` (Computed Radiography).
        photometric: polarity of the stored values.
        bits: bits stored, in 16 allocated.
        stored: lowest and highest stored value of the detector, as fractions of the largest number of these bits.
        voi: how the values of interest are given: by nothing, by one window (LINEAR, LINEAR_EXACT, SIGMOID), by
            several of which the first is meant, or by a VOI LUT sequence.
        window: darkest and brightest shown value, as fractions of the detector's range.
        rescale: slope and intercept, None where they are 1 and 0.
        padding: value of the pixels outside the collimator: ``"low"`` (0), ``"high"`` (all bits), ``"range"`` (0 to 7
            with a range limit) or ``""`` for none.
        spacing: ``"detector"`` (ImagerPixelSpacing only), ``"calibrated"`` (PixelSpacing too, corrected for
            magnification) or ``"pixel"`` (PixelSpacing only, of the detector).
        syntax: transfer syntax.
        lateral: word for the lateral view in ViewPosition.
    """

    sop: Literal["DX", "CR"]
    photometric: Literal["MONOCHROME1", "MONOCHROME2"]
    bits: int
    stored: tuple[float, float]
    voi: Voi
    window: tuple[float, float]
    syntax: Syntax
    rescale: tuple[float, float] | None = None
    padding: Literal["low", "high", "range", ""] = ""
    spacing: Literal["detector", "calibrated", "pixel"] = "detector"
    lateral: Literal["LL", "LATERAL"] = "LL"


@dataclass(frozen=True, slots=True)
class Scanner:
    """One device.

    Attributes:
        name: its station name.
        site: where it stands.
        manufacturer: invented.
        model: invented.
        mobile: True for the units that go to the bedside.
        look: what detector and processing make of a chest.
        convention: how it files its pictures.
    """

    name: str
    site: str
    manufacturer: str
    model: str
    mobile: bool
    look: DetectorLook
    convention: Convention


SCANNERS: tuple[Scanner, ...] = tuple(
    Scanner(
        name,
        look=DetectorLook(**facts.pop("look"), bits=16, low=0.0, high=1.0),
        convention=Convention(**facts.pop("convention")),
        **facts,
    )
    for name, facts in read_facts("devices").items()
)

CT_SCANNERS: dict[str, str] = {f"{site[0].upper()}-CT{number}": site for site in SITES for number in (1, 2)}
"""Name of a CT device -> its site; all store Hounsfield units."""


def devices_of(site: str, *, modality: Literal["cxr", "ct"], bedside: bool) -> tuple[str, ...]:
    """Return the names of the devices that a site can use for a patient."""
    if modality == "ct":
        return tuple(name for name, place in CT_SCANNERS.items() if place == site)
    return tuple(device.name for device in SCANNERS if device.site == site and device.mobile == bedside)


def look_of(scanner: Scanner, view: View, generator: np.random.Generator) -> DetectorLook:
    """Return the look of one exposure: dose, hardness and collimation differ from picture to picture.

    A left lateral film carries the letter L whichever letter the device burns into frontal ones.
    """
    look = scanner.look
    dose, hardness, power = (min(max(float(number), -2.2), 2.2) for number in generator.standard_normal(3))
    top, right, bottom, left = (int(extra) if scanner.mobile else 0 for extra in generator.integers(0, 4, 4))
    edges = look.border
    return replace(
        look,
        exposure=look.exposure * 2.0 ** (0.4 * dose),
        contrast=look.contrast * math.exp(0.13 * hardness),
        gamma=look.gamma * math.exp(0.16 * power),
        marker="L" if look.marker and view == "LATERAL" else look.marker,
        border=(edges[0] + top, edges[1] + right, edges[2] + bottom, edges[3] + left),
    )
