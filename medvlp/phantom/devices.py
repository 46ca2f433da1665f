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

from medvlp.core.errors import DataError
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


# A side letter stands beside the side that it names: the patient's left is at the image's right.
SCANNERS: tuple[Scanner, ...] = (
    # North: a new hospital, one vendor; soft, equalised pictures with lead letters.
    Scanner(
        name="N-DR1", site="north", manufacturer="Aquilon", model="Panel 43", mobile=False,
        look=DetectorLook(bits=16, low=0.0, high=1.0, exposure=60, scatter_fraction=0.25, noise=0.15, contrast=1.0,
                          gamma=0.95, equalise=0.35, sharpness=0.5, blur=0.4, vignetting=0.02, marker="L"),
        convention=Convention(sop="DX", photometric="MONOCHROME2", bits=12, stored=(0.06, 0.72), voi="linear",
                              window=(0.0, 1.0), syntax="explicit", spacing="calibrated"),
    ),
    Scanner(
        name="N-DR2", site="north", manufacturer="Aquilon", model="Panel 35", mobile=False,
        look=DetectorLook(bits=16, low=0.0, high=1.0, exposure=50, scatter_fraction=0.3, noise=0.2, contrast=0.95,
                          gamma=1.0, equalise=0.3, sharpness=0.6, blur=0.4, vignetting=0.03, marker="L"),
        convention=Convention(sop="DX", photometric="MONOCHROME1", bits=14, stored=(0.1, 0.8), voi="sigmoid",
                              window=(0.2, 0.8), syntax="jpeg2000", spacing="detector"),
    ),
    Scanner(
        name="N-MOB", site="north", manufacturer="Aquilon", model="Go", mobile=True,
        look=DetectorLook(bits=16, low=0.0, high=1.0, exposure=25, scatter_fraction=0.42, noise=0.25, contrast=1.05,
                          gamma=0.95, equalise=0.4, sharpness=0.6, blur=0.5, vignetting=0.05, marker="L"),
        convention=Convention(sop="DX", photometric="MONOCHROME2", bits=14, stored=(0.04, 0.55), voi="several",
                              window=(0.02, 0.98), syntax="explicit", spacing="detector"),
    ),
    # South: storage plates and a hard film look; dark letters on a plate, blanked borders.
    Scanner(
        name="S-CR1", site="south", manufacturer="Borealis", model="Plate S", mobile=False,
        look=DetectorLook(bits=16, low=0.0, high=1.0, exposure=35, scatter_fraction=0.35, noise=0.35, contrast=1.25,
                          gamma=1.1, equalise=0.1, sharpness=0.25, blur=0.7, vignetting=0.08, marker="R",
                          marker_corner="upper left", marker_polarity="dark"),
        convention=Convention(sop="CR", photometric="MONOCHROME1", bits=10, stored=(0.0, 1.0), voi="none",
                              window=(0.0, 1.0), syntax="implicit", spacing="pixel", lateral="LATERAL"),
    ),
    Scanner(
        name="S-DR1", site="south", manufacturer="Borealis", model="Flat S", mobile=False,
        look=DetectorLook(bits=16, low=0.0, high=1.0, exposure=45, scatter_fraction=0.3, noise=0.25, contrast=1.2,
                          gamma=1.05, equalise=0.15, sharpness=0.3, blur=0.5, vignetting=0.06, marker="R",
                          marker_corner="upper left", marker_polarity="dark"),
        convention=Convention(sop="DX", photometric="MONOCHROME2", bits=12, stored=(0.05, 0.95), voi="lut",
                              window=(0.0, 1.0), syntax="explicit", spacing="calibrated", padding="low"),
    ),
    Scanner(
        name="S-MOB", site="south", manufacturer="Borealis", model="Plate M", mobile=True,
        look=DetectorLook(bits=16, low=0.0, high=1.0, exposure=20, scatter_fraction=0.46, noise=0.35, contrast=1.2,
                          gamma=1.1, equalise=0.1, sharpness=0.25, blur=0.8, vignetting=0.1, marker="R",
                          marker_corner="upper left", marker_polarity="dark", border=(3, 4, 3, 4)),
        convention=Convention(sop="CR", photometric="MONOCHROME1", bits=12, stored=(0.1, 0.9), voi="linear",
                              window=(0.0, 1.0), syntax="rle", rescale=(0.5, -512.0), spacing="pixel",
                              lateral="LATERAL"),
    ),
    # East: sharp, bright, flat processing; no lead letters on the mobile unit.
    Scanner(
        name="E-DR1", site="east", manufacturer="Cirrus", model="Wall", mobile=False,
        look=DetectorLook(bits=16, low=0.0, high=1.0, exposure=70, scatter_fraction=0.2, noise=0.12, contrast=0.9,
                          gamma=0.85, equalise=0.5, sharpness=0.9, blur=0.3, vignetting=0.01, marker="L",
                          marker_polarity="dark"),
        convention=Convention(sop="DX", photometric="MONOCHROME2", bits=16, stored=(0.02, 0.6), voi="linear_exact",
                              window=(0.01, 0.99), syntax="jpegls", spacing="detector", padding="high"),
    ),
    Scanner(
        name="E-DR2", site="east", manufacturer="Cirrus", model="Table", mobile=False,
        look=DetectorLook(bits=16, low=0.0, high=1.0, exposure=55, scatter_fraction=0.25, noise=0.2, contrast=0.9,
                          gamma=0.9, equalise=0.45, sharpness=0.8, blur=0.35, vignetting=0.02, marker="L",
                          marker_polarity="dark"),
        convention=Convention(sop="DX", photometric="MONOCHROME1", bits=12, stored=(0.08, 0.92), voi="lut",
                              window=(0.0, 1.0), syntax="jpegls", spacing="detector"),
    ),
    Scanner(
        name="E-MOB", site="east", manufacturer="Cirrus", model="Cart", mobile=True,
        look=DetectorLook(bits=16, low=0.0, high=1.0, exposure=24, scatter_fraction=0.42, noise=0.25, contrast=0.95,
                          gamma=0.9, equalise=0.5, sharpness=0.8, blur=0.5, vignetting=0.04, marker=""),
        convention=Convention(sop="CR", photometric="MONOCHROME2", bits=15, stored=(0.05, 0.75), voi="several",
                              window=(0.0, 1.0), syntax="jpeg2000", rescale=(2.0, 100.0), spacing="pixel",
                              padding="range", lateral="LATERAL"),
    ),
)  # fmt: skip


CT_SCANNERS: dict[str, str] = {f"{site[0].upper()}-CT{number}": site for site in SITES for number in (1, 2)}
"""Name of a CT device -> its site; all store Hounsfield units."""


def scanner_named(name: str) -> Scanner:
    """Return the X-ray device of a name.

    Raises:
        DataError: if there is none.
    """
    for scanner in SCANNERS:
        if scanner.name == name:
            return scanner
    raise DataError(
        f"There is no X-ray device {name!r} in the phantom: use one of {', '.join(s.name for s in SCANNERS)}."
    )


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
