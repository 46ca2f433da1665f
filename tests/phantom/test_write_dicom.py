"""Every device's files, read by pydicom and shown by the standard, give the picture that was meant."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from medvlp.core.randomness import numpy_generator
from medvlp.phantom.devices import SCANNERS, Scanner
from medvlp.phantom.facts import Study, View
from medvlp.phantom.sampling import sample_cohort
from medvlp.phantom.write_dicom import curve_of, uid_of, write_radiograph

IDS = [scanner.name for scanner in SCANNERS]


def study_with(view: View) -> Study:
    return next(study for study in sample_cohort(patients=40, seed=0, modality="cxr") if view in study.views)


def a_picture(size: int = 96) -> np.ndarray:
    """A ramp with noise that uses the whole range, brighter to the right."""
    ramp = np.linspace(0, 65535, size)[None].repeat(size, 0)
    noisy = ramp + numpy_generator(0, 0, "test.picture").normal(0, 1500, (size, size))
    return np.clip(np.rint(noisy), 0, 65535).astype(np.uint16)


def write(path: Path, scanner: Scanner, view: View = "PA") -> dict[str, str | int]:
    return write_radiograph(
        path,
        a_picture(),
        study=study_with(view),
        view=view,
        scanner=scanner,
        spacing=(1.5, 1.5),
        magnification=1.1,
        age=57,
        seed=0,
    )


def padded(dataset: pydicom.Dataset) -> np.ndarray:
    """Which pixels are padding (PS3.3 C.7.5.1.1.2)."""
    pixels = dataset.pixel_array
    if "PixelPaddingValue" not in dataset:
        return np.zeros(pixels.shape, bool)
    ends = sorted((dataset.PixelPaddingValue, dataset.get("PixelPaddingRangeLimit", dataset.PixelPaddingValue)))
    return (pixels >= ends[0]) & (pixels <= ends[1])


def displayed(dataset: pydicom.Dataset) -> np.ndarray:
    """Brightness 0 to 1 by PS3.4 N.2: modality, then VOI (index 0) or full range, then polarity."""
    modality = apply_modality_lut(dataset.pixel_array, dataset).astype(float)
    if "VOILUTSequence" in dataset:
        shown = apply_voi_lut(dataset.pixel_array, dataset).astype(float) / 65535
    elif "WindowCenter" in dataset:
        centre, width = (
            float(value if not isinstance(value, pydicom.multival.MultiValue) else value[0])
            for value in (dataset.WindowCenter, dataset.WindowWidth)
        )
        function = dataset.get("VOILUTFunction", "LINEAR")
        if function == "SIGMOID":
            shown = 1 / (1 + np.exp(-4 * (modality - centre) / width))
        elif function == "LINEAR_EXACT":
            shown = np.clip((modality - centre) / width + 0.5, 0, 1)
        else:
            shown = np.clip((modality - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)
    else:
        shown = (dataset.pixel_array / (2**dataset.BitsStored - 1)).astype(float)
    return 1 - shown if dataset.PhotometricInterpretation == "MONOCHROME1" else shown


@pytest.mark.parametrize("scanner", SCANNERS, ids=IDS)
def test_the_standard_display_shows_the_picture_that_was_meant(scanner: Scanner, tmp_path: Path) -> None:
    write(tmp_path / "PA.dcm", scanner)
    dataset = pydicom.dcmread(tmp_path / "PA.dcm")
    inside = ~padded(dataset)
    meant = curve_of(scanner.convention, a_picture() / 65535)
    low, high = scanner.convention.stored
    if scanner.convention.voi == "none":  # without a window the file means all its bits
        meant = low + (high - low) * meant
    quantum = 1 / (
        2**scanner.convention.bits * (high - low) * (scanner.convention.window[1] - scanner.convention.window[0])
    )
    assert np.abs(displayed(dataset) - meant)[inside].max() <= 2 * quantum
    assert inside.mean() > 0.85


@pytest.mark.parametrize("scanner", SCANNERS, ids=IDS)
def test_pydicom_alone_reads_each_file_and_agrees(scanner: Scanner, tmp_path: Path) -> None:
    written = write(tmp_path / "PA.dcm", scanner)
    dataset = pydicom.dcmread(tmp_path / "PA.dcm")
    values = dataset.pixel_array
    # A VOI LUT is indexed by integers; devices that use one have the identity as their modality transform.
    values = values if "VOILUTSequence" in dataset else apply_modality_lut(values, dataset)
    ours, theirs = displayed(dataset), apply_voi_lut(values, dataset)
    signed = -1 if dataset.PhotometricInterpretation == "MONOCHROME1" else 1
    inside = ~padded(dataset)
    assert np.corrcoef(ours[inside], signed * theirs[inside].astype(float))[0, 1] > 0.9999
    assert dataset.file_meta.TransferSyntaxUID == written["transfer_syntax"]
    assert (dataset.Rows, dataset.Columns) == (written["rows"], written["columns"]) == dataset.pixel_array.shape
    assert dataset.pixel_array.max() < 2**dataset.BitsStored
    assert dataset.SOPInstanceUID == written["sop_uid"] == dataset.file_meta.MediaStorageSOPInstanceUID


def test_padding_is_told_apart_from_the_picture(tmp_path: Path) -> None:
    values = set()
    for scanner in (scanner for scanner in SCANNERS if scanner.convention.padding):
        write(tmp_path / "PA.dcm", scanner)
        dataset = pydicom.dcmread(tmp_path / "PA.dcm")
        mask = padded(dataset)
        rows, columns = np.flatnonzero(~mask.all(1)), np.flatnonzero(~mask.all(0))
        assert not mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].any()  # a frame, nothing inside
        assert 0 < mask.mean() < 0.15
        values.add(scanner.convention.padding)
    assert values == {"low", "high", "range"}


def test_the_devices_differ_in_all_that_a_reader_must_handle() -> None:
    conventions = [scanner.convention for scanner in SCANNERS]
    assert {c.voi for c in conventions} == {"none", "linear", "linear_exact", "several", "sigmoid", "lut"}
    assert {c.syntax for c in conventions} == {"explicit", "implicit", "rle", "jpeg2000", "jpegls"}
    assert {c.sop for c in conventions} == {"DX", "CR"}
    assert {c.spacing for c in conventions} == {"detector", "calibrated", "pixel"}
    assert min(c.bits for c in conventions) == 10
    assert max(c.bits for c in conventions) == 16
    assert any(c.rescale for c in conventions)
    assert Counter(c.photometric for c in conventions)["MONOCHROME1"] >= 3
    for site in ("north", "south", "east"):
        assert {scanner.mobile for scanner in SCANNERS if scanner.site == site} == {True, False}


@pytest.mark.parametrize("view", ["PA", "AP", "LATERAL"])
def test_the_header_says_what_the_study_is(view: View, tmp_path: Path) -> None:
    study = study_with(view)
    for scanner in SCANNERS:
        write(tmp_path / "x.dcm", scanner, view)
        dataset = pydicom.dcmread(tmp_path / "x.dcm")
        assert (dataset.PatientID, dataset.AccessionNumber) == (study.patient.id, study.accession)
        assert (dataset.PatientSex, dataset.PatientAge) == (study.patient.sex, "057Y")
        assert dataset.PatientIdentityRemoved == "YES"
        assert dataset.BodyPartExamined == "CHEST"
        assert dataset.StationName == scanner.name
        assert dataset.ViewPosition in (("LL", "LATERAL") if view == "LATERAL" else (view,))
        assert list(dataset.PatientOrientation) == (["P", "F"] if view == "LATERAL" else ["L", "F"])
        assert all(str(uid).startswith("2.25.") for uid in (dataset.SOPInstanceUID, dataset.StudyInstanceUID))
        assert dataset.BurnedInAnnotation == "NO"
        spacing = scanner.convention.spacing
        assert ("ImagerPixelSpacing" in dataset) == (spacing != "pixel")
        assert ("PixelSpacing" in dataset) == (spacing != "detector")
        if spacing == "calibrated":
            assert float(dataset.PixelSpacing[0]) == pytest.approx(1.5 / 1.1, rel=1e-4)


def test_a_file_is_the_same_bytes_again(tmp_path: Path) -> None:
    for scanner in SCANNERS:
        for name in ("a", "b"):
            write(tmp_path / f"{name}.dcm", scanner)
        first, second = (hashlib.sha256((tmp_path / f"{name}.dcm").read_bytes()).hexdigest() for name in "ab")
        assert first == second


def test_uids_depend_on_seed_and_thing_and_are_legal() -> None:
    uids = {uid_of(seed, kind, thing) for seed in (0, 1) for kind in ("study", "image") for thing in ("S1", "S2")}
    assert len(uids) == 8
    assert all(pydicom.uid.UID(uid).is_valid and len(uid) <= 64 for uid in uids)
