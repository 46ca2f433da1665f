"""Mutants of real files against the readers, each run in a process of its own that is watched from outside.

python tests/benchmarks/fuzz_readers.py --mutants 10000

What is read of a DICOM file is compared with what the standard says of pydicom's parse (``tests/io/referee.py``), in
another process, since pydicom's decoders have no limits: equal, announced by a warning, or different.
Seeds are pydicom's and pydicom-data's files below 400 kB, and small PNG, JPEG, TIFF and NIfTI files and archives. Every
mutant is a function of its number and `--seed`, so one that was found can be made again: `--only NUMBER --keep FILE`.
Exit code 1 where a reader died, raised another exception than `UnreadableImage`, took over 20 seconds, gave values that
are not in [0, 1], differ without a word, or reader and helper together took more than a gigabyte.
"""

from __future__ import annotations

import argparse
import collections
import io
import json
import os
import random
import resource
import select
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from _report import print_report

from tests.io.mutants import mutant

if TYPE_CHECKING:
    from medvlp.io import Image

LARGEST_SEED, SECONDS, GIGABYTE = 400_000, 20.0, 1 << 30
_PIXEL_TAG = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")  # in either byte order
_OF_DICOM = ("stored values", "frame ")  # how the steps of a DICOM file begin
_JUDGE_BYTES = 4 << 30
_FAULTS = ("escapes", "parent_deaths", "over_20_s", "out_of_range", "different")
_DEAD_AFTER = 60.0  # what has not answered by then is ended, and counted as a hang


def seeds() -> list[bytes]:
    """Return the files that mutants are made of, in an order that depends on nothing but their content."""
    import pydicom.data
    import pydicom.data.data_manager

    folders = {Path(pydicom.data.__file__).parent / "test_files"}
    external = pydicom.data.data_manager.external_data_sources()
    folders |= {Path(source.data_path) for source in external.values() if hasattr(source, "data_path")}
    paths = {path for folder in folders for path in folder.rglob("*") if path.is_file()}
    found = {path.read_bytes() for path in paths if 0 < path.stat().st_size <= LARGEST_SEED}
    return sorted(found | set(_others()))


def _others() -> list[bytes]:
    import nibabel
    from PIL import Image

    numbers = np.random.default_rng(0)
    files: list[bytes] = []
    for form, values in (
        ("PNG", numbers.integers(0, 65536, (40, 30)).astype(np.uint16)),
        ("PNG", numbers.integers(0, 256, (40, 30, 4)).astype(np.uint8)),
        ("JPEG", numbers.integers(0, 256, (40, 30, 3)).astype(np.uint8)),
        ("TIFF", numbers.integers(0, 65536, (40, 30)).astype(np.uint16)),
    ):
        stream = io.BytesIO()
        Image.fromarray(values).save(stream, format=form)
        files.append(stream.getvalue())
    volume = nibabel.Nifti1Image(numbers.integers(0, 99, (9, 8, 7)).astype(np.int16), np.diag([1.0, 2, 3, 1]))
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a.nii", "a.nii.gz"):
            volume.to_filename(Path(folder, name))
            files.append(Path(folder, name).read_bytes())
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.png", files[0])
    return [*files, packed.getvalue()]


def make(files: list[bytes], seed: int, number: int) -> bytes:
    """Return mutant `number`."""
    chance = random.Random(f"{seed}/{number}")
    # A third of the files are directories, reports and headers: most mutants are of those that could show a picture.
    pictures = [data for data in files if any(tag in data for tag in _PIXEL_TAG)]
    return mutant(chance.choice(pictures if chance.random() < 0.8 else files), chance)


# --- the reader, in a process of its own -----------------------------------------------------------------------------


def read_all() -> None:
    """Read each path that comes in, and say how it ended: one JSON line a file."""
    import warnings

    warnings.simplefilter("ignore")
    from medvlp.io.sandbox.client import _State

    for line in sys.stdin:
        path = line.strip()
        start = time.perf_counter()
        outcome, image = _outcome(path)
        said: dict[str, object] = {"outcome": outcome, "seconds": time.perf_counter() - start}
        if image is not None and image.steps[0].startswith(_OF_DICOM):
            np.save(f"{path}.npy", image.pixels)
            said["warnings"] = image.warnings
        said["reader"] = _peak("self")
        pid = _State.helper.process.pid if _State.helper else None
        said["helper"] = [pid, _peak(str(pid)) if pid else 0]
        # Of helpers that have died: an upper bound, which counts what they inherited before they began.
        said["dead_helpers"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        print(json.dumps(said), flush=True)


def _outcome(path: str) -> tuple[str, Image | None]:
    from medvlp.io import UnreadableImage, read_image, read_volume

    try:
        image = read_image(path)
        good = np.isfinite(image.pixels).all() and 0 <= image.pixels.min() <= image.pixels.max() <= 1
        return ("read", image) if good else ("out of range", None)
    except UnreadableImage as error:
        if error.reason != "volume":
            return error.reason, None
    except BaseException as error:
        return f"escape {type(error).__name__}", None
    try:
        read_volume(path)
        return "read", None
    except UnreadableImage as error:
        return error.reason, None
    except BaseException as error:
        return f"escape {type(error).__name__}", None


def judge_all() -> None:
    """Compare the pixels of each file that is named with the referee's: one JSON line a file."""
    resource.setrlimit(resource.RLIMIT_AS, (_JUDGE_BYTES, _JUDGE_BYTES))
    from tests.io.verdict import verdict

    for line in sys.stdin:
        path, notes = json.loads(line)
        print(json.dumps({"verdict": verdict(Path(path).read_bytes(), np.load(f"{path}.npy"), notes)}), flush=True)


def _peak(process: str) -> int:
    """Return the most memory that a process ever had resident, in bytes."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    lines = [line for line in text.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) * 1024 if lines else 0


# --- the watcher -----------------------------------------------------------------------------------------------------


class Watched:
    """A process of this script that answers a line of JSON for a line; started again when it has ended."""

    def __init__(self, role: str) -> None:
        command = [sys.executable, __file__, role]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def ask(self, question: str) -> dict[str, Any] | None:
        """Return what the process says, or None when it has died or does not answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(f"{question}\n".encode())
            self.process.stdin.flush()
        except OSError:
            return None
        ready, _, _ = select.select([self.process.stdout], [], [], _DEAD_AFTER)
        line = self.process.stdout.readline() if ready else b""
        return json.loads(line) if line else None

    def end(self) -> None:
        """End the process; its helper ends with it."""
        self.process.kill()
        self.process.communicate()


def main() -> int:
    """Read mutants and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="one mutant, by its number")
    parser.add_argument("--keep", type=Path, help="where to write that mutant")
    parser.add_argument("--read", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--judge", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read or options.judge:
        (read_all if options.read else judge_all)()
        return 0
    files = seeds()
    if options.only is not None and options.keep is not None:
        options.keep.write_bytes(make(files, options.seed, options.only))
        return 0
    numbers = range(options.mutants) if options.only is None else [options.only]
    outcomes: collections.Counter[str] = collections.Counter()
    found: dict[str, list[int]] = {name: [] for name in _FAULTS}
    verdicts: collections.Counter[str] = collections.Counter()
    helper_deaths, slowest, peaks = 0, 0.0, {"reader": 0, "helper": 0, "dead_helpers": 0}
    watched, judge = Watched("--read"), Watched("--judge")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mutant")
        for number in numbers:
            path.write_bytes(make(files, options.seed, number))
            said = watched.ask(str(path))
            if said is None:
                found["over_20_s" if watched.process.poll() is None else "parent_deaths"].append(number)
                watched.end()
                watched = Watched("--read")
                continue
            outcome, seconds = str(said["outcome"]), float(said["seconds"])
            outcomes[outcome.split()[0]] += 1
            slowest = max(slowest, seconds)
            helper_deaths += outcome in ("decoder_died", "timeout")
            if "warnings" in said:
                judged = judge.ask(json.dumps([str(path), said["warnings"]]))
                if judged is None:
                    judge.end()
                    judge = Watched("--judge")
                told = "no opinion: pydicom died" if judged is None else str(judged["verdict"])
                verdicts[told if told.startswith("no opinion") else told.partition(":")[0]] += 1
                found["different"] += [number] if told.startswith("different") else []
            found["escapes"] += [number] if outcome.startswith("escape") else []
            found["out_of_range"] += [number] if outcome == "out of range" else []
            found["over_20_s"] += [number] if seconds > SECONDS else []
            peaks["reader"] = max(peaks["reader"], said["reader"])
            peaks["helper"] = max(peaks["helper"], said["helper"][1])
            peaks["dead_helpers"] = max(peaks["dead_helpers"], said["dead_helpers"])
    watched.end()
    judge.end()
    together = peaks["reader"] + max(peaks["helper"], peaks["dead_helpers"] if helper_deaths else 0)
    print_report(
        "fuzz_readers",
        n={"mutants": len(numbers), "seeds": len(files)},
        packages=("pydicom", "pydicom-data", "imagecodecs", "pylibjpeg-openjpeg", "pyjpegls", "pillow", "nibabel"),
        seed=options.seed,
        **{name: len(at) for name, at in found.items()},
        numbers={name: at[:20] for name, at in found.items() if at},
        helper_deaths=helper_deaths,
        slowest_s=round(slowest, 2),
        peak_mb={name: peak >> 20 for name, peak in peaks.items()},
        peak_together_mb=together >> 20,
        verdicts=dict(verdicts.most_common()),
        outcomes=dict(outcomes.most_common()),
    )
    return int(any(found.values()) or together > GIGABYTE)


if __name__ == "__main__":
    sys.exit(main())
