"""Which readers put every voxel of a CT where it lies in the patient: 29 folders, each reader in its own process.

600 random voxels of what a reader returns: the place by its own affine, the value that the patient has there. A reading
is right where all agree within 3 HU and all slices are there. Where a folder holds two volumes, either is right.
A warning counts where its words have to do with geometry, slices or series, wherever it is written.

python tests/benchmarks/volume_scoreboard.py
"""

from __future__ import annotations

import re
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from _report import print_report
from _scoreboard import Readers, answer_all, options_of, reader_of, scores

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the folders are those of the tests, which are not installed

from tests.io.conftest import dicom_writer  # noqa: E402
from tests.io.ct_folders import CT_FOLDERS, CtFolder  # noqa: E402
from tests.io.ct_judge import in_place  # noqa: E402

#: Voxels over (i, j, k) and the affine of these indices to LPS millimetres.
Placed = tuple[np.ndarray, np.ndarray]

_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS <-> LPS
_RELEVANT = re.compile(
    r"spac|slice|gap|missing|tilt|uniform|orient|position|geometr|duplicat|series|affine|dimension|truncat|instance",
    re.IGNORECASE,
)


def _only_file(folder: Path) -> Path:
    """Return the file of a folder that holds one, else the folder: a multi-frame file is opened as a file."""
    files = list(folder.iterdir())
    return files[0] if len(files) == 1 else folder


def ours(folder: Path, case: CtFolder) -> Placed:
    """Ours, as it stands."""
    return _ours(folder)


def ours_repaired(folder: Path, case: CtFolder) -> Placed:
    """Ours, told which volume and how to repair."""
    return _ours(folder, series=case.choice, on_gap="resample", on_tilt="shear")


def _ours(folder: Path, **options: object) -> Placed:
    from medvlp.io import UnreadableImage, read_volume

    try:
        volume = read_volume(folder, **options)
    except UnreadableImage as error:
        raise UnreadableImage(error.reason, detail=error.detail) from error  # without the path of this run
    for note in volume.warnings:
        warnings.warn(note, stacklevel=1)
    return volume.voxels.transpose(2, 1, 0), volume.affine.to("LPS").matrix


def _monai(folder: Path, reader: str) -> Placed:
    from monai.transforms import LoadImage

    image = LoadImage(reader=reader, image_only=True)(str(_only_file(folder)))
    return np.asarray(image), _FLIP @ np.asarray(image.affine, float)


def monai_pydicom(folder: Path, case: CtFolder) -> Placed:
    """MONAI by pydicom."""
    return _monai(folder, "PydicomReader")


def monai_itk(folder: Path, case: CtFolder) -> Placed:
    """MONAI by ITK."""
    return _monai(folder, "ITKReader")


def simpleitk(folder: Path, case: CtFolder) -> Placed:
    """The series reader of its documentation; the first series, as it takes by itself."""
    import SimpleITK

    if (only := _only_file(folder)) != folder:
        image = SimpleITK.ReadImage(str(only))
    else:
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
        image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image).T, affine


def torchio(folder: Path, case: CtFolder) -> Placed:
    """A ScalarImage."""
    from torchio import ScalarImage

    image = ScalarImage(_only_file(folder))
    return image.data.numpy()[0], _FLIP @ np.asarray(image.affine, float)


def highdicom(folder: Path, case: CtFolder) -> Placed:
    """A volume of all data sets in the folder, or of a multi-frame image."""
    from highdicom import get_volume_from_series, imread
    from pydicom import dcmread

    if (only := _only_file(folder)) != folder:
        volume = imread(only).get_volume()
    else:
        volume = get_volume_from_series([dcmread(path) for path in sorted(folder.iterdir())])
    return volume.array, volume.affine


def dicom2nifti(folder: Path, case: CtFolder) -> Placed:
    """A series to NIfTI, loaded by nibabel."""
    import nibabel
    from dicom2nifti import dicom_series_to_nifti

    with tempfile.TemporaryDirectory() as out:
        path = Path(out, "ct.nii.gz")
        dicom_series_to_nifti(folder, path)
        image = nibabel.load(path)
        return image.get_fdata(), _FLIP @ image.affine


READERS: Readers = {
    "medvlp": (ours, ("medvlp",), ("pydicom",)),
    "medvlp, repairs asked for": (ours_repaired, ("medvlp",), ("pydicom",)),
    "MONAI PydicomReader": (monai_pydicom, ("monai",), ("monai", "pydicom")),
    "MONAI ITKReader": (monai_itk, ("monai", "itk"), ("monai", "itk-core")),
    "SimpleITK": (simpleitk, ("SimpleITK",), ("simpleitk",)),
    "torchio": (torchio, ("torchio",), ("torchio", "simpleitk")),
    "highdicom": (highdicom, ("highdicom",), ("highdicom", "pydicom")),
    "dicom2nifti": (dicom2nifti, ("dicom2nifti",), ("dicom2nifti", "nibabel")),
}
NAMES = [case.name for case in CT_FOLDERS]


def read_all(reader: str, folder: Path, start: int) -> None:
    """Judge every folder by one reader."""
    read = reader_of(READERS, reader)

    def judge(at: int) -> bool:
        case = CT_FOLDERS[at]
        return in_place(*read(folder / str(at), case), case.truths) == 0

    answer_all(NAMES, judge, _RELEVANT, start)


def main() -> None:
    """Write the folders, run the readers, print one JSON line."""
    options = options_of(__doc__, READERS, "folders")
    if options.read:
        read_all(options.read, options.folder, options.start)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write = dicom_writer(folder)
        for at, case in enumerate(CT_FOLDERS):
            (folder / str(at)).mkdir()
            case.write(write, folder / str(at))
        board = scores(__file__, READERS, NAMES, folder, options)
    print_report("volume_scoreboard", n=len(CT_FOLDERS), packages=("numpy",), readers=board)


if __name__ == "__main__":
    main()
