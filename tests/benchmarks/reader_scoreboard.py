"""Which readers show a radiograph as a display does: 33 DX files of known truth, each reader in its own process.

A reading is right where, stretched from its minimum to its maximum, it is within 2 % of the truth stretched likewise:
brightness and contrast are the reader's own choice, polarity, curve, bits, padding and hanging are not. Everything
else is a loud error (an exception, a death, no answer within the limit) or silently wrong.

python tests/benchmarks/reader_scoreboard.py
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
from _report import print_report

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the files are those of the tests, which are not installed

from tests.io.conftest import dicom_writer  # noqa: E402
from tests.io.dx_files import DX_FILES  # noqa: E402

_CLOSE = 0.02


def ours(path: str) -> np.ndarray:
    """Ours, as it stands."""
    from medvlp.io import read_image

    return read_image(path).pixels


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


#: reader -> (function, module that must be there, distributions whose versions count)
READERS: dict[str, tuple[Callable[[str], np.ndarray], str, tuple[str, ...]]] = {
    "medvlp": (ours, "medvlp", ("pydicom",)),
    "pydicom pixel_array": (pydicom_pixel_array, "pydicom", ("pydicom",)),
    "pydicom modality + VOI": (pydicom_modality_voi, "pydicom", ("pydicom",)),
    "highdicom": (highdicom, "highdicom", ("highdicom",)),
    "SimpleITK": (simpleitk, "SimpleITK", ("simpleitk",)),
    "MONAI PydicomReader": (monai_pydicom, "monai", ("monai", "pydicom")),
    "MONAI ITKReader": (monai_itk, "itk", ("monai", "itk")),
    "torchxrayvision": (torchxrayvision, "torchxrayvision", ("torchxrayvision",)),
}


def judge(shown: np.ndarray, truth: np.ndarray) -> str:
    """Return "right" or "wrong"."""
    shown = np.asarray(shown, float).squeeze()
    if shown.ndim == 3 and shown.shape[-1] == 3:
        shown = shown @ [0.299, 0.587, 0.114]
    if shown.shape != truth.shape or not np.isfinite(shown).all() or shown.min() == shown.max():
        return "wrong"
    stretched = [(x - x.min()) / (x.max() - x.min()) for x in (shown, truth)]
    return "right" if np.abs(stretched[0] - stretched[1]).max() <= _CLOSE else "wrong"


def read_all(reader: str, folder: Path) -> None:
    """Judge every file, one line each as it is done, so that a death or a hang loses no other."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    for at, case in enumerate(case for case in DX_FILES if case.scored):
        try:
            verdict = judge(READERS[reader][0](str(folder / f"{at}.bin")), case.truth)
        except Exception as error:
            verdict = f"error {type(error).__name__}"
        print(json.dumps([case.name, verdict]), flush=True)


def score(reader: str, folder: Path, names: list[str], limit: float) -> dict[str, object]:
    """Run one reader in a process of its own and count."""
    command = [sys.executable, __file__, "--read", reader, "--folder", str(folder)]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=limit, cwd=ROOT)
        out, end = ran.stdout, "" if ran.returncode == 0 else f"exit {ran.returncode}"
    except subprocess.TimeoutExpired as late:
        out, end = (late.stdout or b"").decode(), f"no answer in {limit:g} s"
    verdicts = dict(json.loads(line) for line in out.splitlines() if line.startswith("["))
    verdicts |= {name: f"error {end or 'no answer'}" for name in names if name not in verdicts}
    wrong = [name for name in names if verdicts[name] == "wrong"]
    loud = {name: verdicts[name] for name in names if verdicts[name].startswith("error")}
    return {
        "right": len(names) - len(wrong) - len(loud),
        "loud_error": len(loud),
        "wrong_silent": len(wrong),
        "errors": loud,
        "wrong": wrong,
        "versions": {name: metadata.version(name) for name in READERS[reader][2]},
    }


def main() -> None:
    """Write the files, run the readers, print one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--read", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=float, default=60, help="Seconds that a reader may take for all files.")
    options = parser.parse_args()
    if options.read:
        read_all(options.read, options.folder)
        return
    cases = [case for case in DX_FILES if case.scored]
    with tempfile.TemporaryDirectory() as folder:
        write = dicom_writer(Path(folder))
        for case in cases:
            write(case.pixels, case.tags, **case.options)
        board = {
            name: score(name, Path(folder), [case.name for case in cases], options.limit)
            if importlib.util.find_spec(module)
            else {"absent": f"{module} is not installed"}
            for name, (_, module, _) in READERS.items()
        }
    print_report("reader_scoreboard", n=len(cases), packages=("numpy",), readers=board)


if __name__ == "__main__":
    main()
