"""Which readers show a radiograph as a display does: 33 DX files of known truth, each reader in its own process.

A reading is right where, stretched from its minimum to its maximum, it is within 2 % of the truth stretched likewise:
brightness and contrast are the reader's own choice, polarity, curve, bits, padding and hanging are not. Everything
else is an error (an exception, a death, no answer within the limit), wrong with a warning that has to do with what the
picture shows, wherever it is written, or wrong without a word.

python tests/benchmarks/reader_scoreboard.py
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
from pydicom.uid import DigitalXRayImageStorageForPresentation

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the files are those of the tests, which are not installed

from tests.io.conftest import dicom_writer  # noqa: E402
from tests.io.dx_files import DX_FILES  # noqa: E402

_CLOSE = 0.02
_RELEVANT = re.compile(
    r"invert|monochrome|photometric|window|voi|lut\b|padding|orientation|bits|sign|overlay", re.IGNORECASE
)
CASES = [case for case in DX_FILES if case.scored]
NAMES = [case.name for case in CASES]


def ours(path: str) -> np.ndarray:
    """Ours, as it stands."""
    from medvlp.io import read_image

    image = read_image(path)
    for note in image.warnings:
        warnings.warn(note, stacklevel=1)
    return image.pixels


def pydicom_pixel_array(path: str) -> np.ndarray:
    """Stored values."""
    import pydicom

    return pydicom.dcmread(path, force=True).pixel_array


def pydicom_modality_voi(path: str) -> np.ndarray:
    """Stored values through both of pydicom's tables."""
    import pydicom
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    data = pydicom.dcmread(path, force=True)
    return apply_voi_lut(apply_modality_lut(data.pixel_array, data), data)


def highdicom(path: str) -> np.ndarray:
    """One frame with all of its transforms."""
    from highdicom import imread

    return imread(path).get_frame(1, apply_voi_transform=None, apply_presentation_lut=True)


def simpleitk(path: str) -> np.ndarray:
    """The default reader."""
    import SimpleITK

    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path))


def _monai(path: str, reader: str) -> np.ndarray:
    from monai.transforms import LoadImage

    return np.asarray(LoadImage(reader=reader, image_only=True)(path)).squeeze().swapaxes(0, 1)  # MONAI puts x first


def monai_pydicom(path: str) -> np.ndarray:
    """MONAI by pydicom."""
    return _monai(path, "PydicomReader")


def monai_itk(path: str) -> np.ndarray:
    """MONAI by ITK."""
    return _monai(path, "ITKReader")


def torchxrayvision(path: str) -> np.ndarray:
    """The default call."""
    from torchxrayvision.utils import read_xray_dcm

    return read_xray_dcm(path)


def torchxrayvision_voi(path: str) -> np.ndarray:
    """With the window or table of the file, as its docstring offers for a human viewer."""
    from torchxrayvision.utils import read_xray_dcm

    return read_xray_dcm(path, voi_lut=True)


def torchio(path: str) -> np.ndarray:
    """A ScalarImage."""
    from torchio import ScalarImage

    return ScalarImage(path).data.numpy()[0].squeeze(-1).T  # x first


READERS: Readers = {
    "medvlp": (ours, ("medvlp",), ("pydicom",)),
    "pydicom pixel_array": (pydicom_pixel_array, ("pydicom",), ("pydicom",)),
    "pydicom modality + VOI": (pydicom_modality_voi, ("pydicom",), ("pydicom",)),
    "highdicom": (highdicom, ("highdicom",), ("highdicom",)),
    "SimpleITK": (simpleitk, ("SimpleITK",), ("simpleitk",)),
    "MONAI PydicomReader": (monai_pydicom, ("monai",), ("monai", "pydicom")),
    "MONAI ITKReader": (monai_itk, ("monai", "itk"), ("monai", "itk-core")),
    "torchxrayvision": (torchxrayvision, ("torchxrayvision",), ("torchxrayvision", "pydicom")),
    "torchxrayvision voi_lut=True": (torchxrayvision_voi, ("torchxrayvision",), ("torchxrayvision", "pydicom")),
    "torchio": (torchio, ("torchio",), ("torchio", "simpleitk")),
}


def judge(shown: np.ndarray, truth: np.ndarray) -> bool:
    """Return whether a picture shows the truth."""
    shown = np.asarray(shown, float).squeeze()
    if shown.ndim == 3 and shown.shape[-1] == 3:
        shown = shown @ [0.299, 0.587, 0.114]
    if shown.shape != truth.shape or not np.isfinite(shown).all() or shown.min() == shown.max():
        return False
    stretched = [(x - x.min()) / (x.max() - x.min()) for x in (shown, truth)]
    return bool(np.abs(stretched[0] - stretched[1]).max() <= _CLOSE)


def identity(number: int) -> dict[int, tuple[str, object]]:
    """Return what every image of PS3.3 C.12.1 carries, which no value depends on and some readers ask for."""
    uids = {0x00080018: number, 0x0020000D: 1000, 0x0020000E: 2000}
    known = {tag: ("UI", f"2.25.{end + 1}") for tag, end in uids.items()}
    patient = {0x00100010: ("PN", "Synthetic^Square"), 0x00100020: ("LO", "S1")}
    return {0x00080016: ("UI", DigitalXRayImageStorageForPresentation), **known, **patient}


def read_all(reader: str, folder: Path, start: int) -> None:
    """Judge every file by one reader."""
    read = reader_of(READERS, reader)
    answer_all(NAMES, lambda at: judge(read(str(folder / f"{at}.bin")), CASES[at].truth), _RELEVANT, start)


def main() -> None:
    """Write the files, run the readers, print one JSON line."""
    options = options_of(__doc__, READERS, "files")
    if options.read:
        read_all(options.read, options.folder, options.start)
        return
    with tempfile.TemporaryDirectory() as folder:
        write = dicom_writer(Path(folder))
        for at, case in enumerate(CASES):
            write(case.pixels, {**identity(at), **case.tags}, **case.options)
        board = scores(__file__, READERS, NAMES, Path(folder), options)
    print_report("reader_scoreboard", n=len(CASES), packages=("numpy",), readers=board)


if __name__ == "__main__":
    main()
