"""One study: rendered, reported and filed, and the rows of truth that come of it. A function of its job only."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import nibabel as nib
import numpy as np

from medvlp.core.files import write_bytes
from medvlp.core.predictions import Mask
from medvlp.core.randomness import numpy_generator
from medvlp.phantom.body import Body, build_body
from medvlp.phantom.ct import render_ct
from medvlp.phantom.devices import SCANNERS, look_of
from medvlp.phantom.facts import Study, View
from medvlp.phantom.projection import geometry_of, project
from medvlp.phantom.radiograph import expose
from medvlp.phantom.report import write_report
from medvlp.phantom.truth import finding_rows, study_row, triplet_rows
from medvlp.phantom.write_dicom import write_radiograph

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class StudyJob:
    """What is needed to make one study.

    Attributes:
        out: root of the cohort.
        study: its facts.
        age: years at the study.
        seed: of the cohort.
        image_size: of the radiographs, pixels a side; a volume has half of it in x and y, 3/16 of it in z.
        modality: radiographs or CT.
    """

    out: Path
    study: Study
    age: int
    seed: int
    image_size: int
    modality: Literal["cxr", "ct"]


def write_study(job: StudyJob) -> dict[str, Any]:
    """Write the pictures (or the volume) of a study and return its rows: table name -> rows, and ``report``.

    Raises:
        UserError: if the disk is full or the folder cannot be written.
    """
    study, seed = job.study, job.seed
    report = write_report(study, seed=seed, held_out=study.patient.split == "test", age=job.age)
    document: dict[str, Any] = {
        "studies": [study_row(study, age=job.age, seed=seed)],
        "images": [],
        "findings": finding_rows(study),
        "boxes": [],
        "triplets": triplet_rows(study, report.triplets),
        "report": report.text,
    }
    body = build_body(study, seed=seed)
    if job.modality == "ct":
        _add_volume(document, job, body)
    for view in study.views:
        _add_radiograph(document, job, body, view)
    return document


def _add_volume(document: dict[str, Any], job: StudyJob, body: Body) -> None:
    study, size = job.study, job.image_size
    shape = (round(size * 3 / 16), size // 2, size // 2)
    volume = render_ct(body, shape=shape, generator=numpy_generator(job.seed, int(study.id[1:]), "phantom.noise.CT"))
    labels = np.zeros(shape, np.uint8)
    # Where two findings overlap, the smaller one is seen.
    order = sorted(range(len(volume.masks)), key=lambda index: -int(volume.masks[index].sum()))
    for index in order:
        labels[volume.masks[index]] = index + 1
    affine = ras_affine((volume.spacing[2], volume.spacing[1], volume.spacing[0]), volume.origin)
    name = Path(study.patient.id) / f"{study.accession}.nii.gz"
    write_nifti(job.out / "truth" / "ct_masks" / name, labels, affine)
    write_nifti(job.out / "ct" / name, volume.hu, affine)
    size_of = dict(zip(("slices", "rows", "columns"), shape, strict=True))
    place = {"path": (Path("ct") / name).as_posix(), "accession": study.accession, "view": "CT"}
    document["images"].append(place | size_of | dict.fromkeys(("sop_uid", "photometric", "transfer_syntax"), ""))


def _add_radiograph(document: dict[str, Any], job: StudyJob, body: Body, view: View) -> None:
    study, serial = job.study, int(job.study.id[1:])
    scanner = next(each for each in SCANNERS if each.name == study.scanner)
    projection = project(body, view, size=job.image_size)
    look = look_of(scanner, view, numpy_generator(job.seed, serial, f"phantom.look.{view}"))
    picture = expose(projection, look, generator=numpy_generator(job.seed, serial, f"phantom.noise.{view}"))
    where = Path("dicom") / study.patient.id / study.accession / f"{view}.dcm"
    written = write_radiograph(
        job.out / where,
        picture,
        study=study,
        view=view,
        scanner=scanner,
        spacing=projection.pixel_spacing,
        # Of the middle of the chest: x and y are 0 there.
        magnification=float(geometry_of(body, view, job.image_size).magnification(np.zeros(1))[0]),
        age=job.age,
        seed=job.seed,
    )
    document["images"].append(
        {"path": where.as_posix(), "accession": study.accession, "view": view, "slices": 1} | written
    )
    for index, (finding, mask, box) in enumerate(zip(study.findings, projection.masks, projection.boxes, strict=True)):
        if box is not None:
            place = dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))
            head = {"path": where.as_posix(), "finding": index, "name": finding.name, "side": finding.side}
            document["boxes"].append(head | place | {"mask": Mask.of(mask).runs.tolist()})


def ras_affine(spacing: tuple[float, float, float], origin: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return the affine (4, 4) from voxel (i, j, k) to RAS millimetres.

    The voxels run to the patient's left, to the back and to the head, as CT scanners store them; NIfTI's world runs to
    the right and to the front, so x and y change sign.

    Args:
        spacing: mm along x, y and z.
        origin: centre of voxel (0, 0, 0) in mm to the left, the back and the head.

    Example:
        >>> ras_affine((2.0, 2.0, 5.0), (-100.0, -80.0, -200.0))[:3, 3].tolist()
        [100.0, 80.0, -200.0]
    """
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = (-origin[0], -origin[1], origin[2])
    return affine


def write_nifti(path: Path, voxels: NDArray[np.int16 | np.uint8], affine: NDArray[np.float64]) -> None:
    """Write voxels (Z, Y, X) as ``.nii.gz``; the axes are stored as NIfTI's (i, j, k) = (x, y, z).

    The affine goes into sform and qform (code 1, scanner), the unit is mm, and the gzip header carries no time or name.

    Raises:
        UserError: if the disk is full or the folder cannot be written; nothing half-written stays.
    """
    image = nib.Nifti1Image(np.ascontiguousarray(voxels.transpose(2, 1, 0)), affine, dtype=voxels.dtype)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    write_bytes(path, gzip.compress(image.to_bytes(), compresslevel=3, mtime=0))
