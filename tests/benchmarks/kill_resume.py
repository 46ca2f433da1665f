"""Kill a training run with SIGKILL at many moments; what it ends with must be what it would have ended with.

    python tests/benchmarks/kill_resume.py --kills 20

prints one JSON line: kills, starts, the moments (seconds after each start), and whether weights, optimiser, states and
the released bundle have the SHA-256 of a run that was left alone. Exit 1 if not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.tiny import tiny_tree, write_tree

COMMAND = [sys.executable, "-m", "medvlp.cli.main"]


def long_tree(run: Path, hospital: Path, cache: Path) -> dict:
    """Eighty steps with two phases, nine checkpoints and four validations: long enough to be hit anywhere."""
    tree = tiny_tree(run, hospital, cache)
    clip = {"name": "clip"}
    tree["phases"] = [
        {"until": 320, "objectives": [clip]},
        {"until": 640, "objectives": [clip, {"name": "caption", "width": 16, "layers": 1, "heads": 2, "weight": 0.3}]},
    ]
    tree["training"] |= {"validate_every": 160, "checkpoint_every": 80}
    tree["evaluation"]["choose"] = "retrieval/recall@5"
    return tree


def start(*words: str) -> subprocess.Popen[str]:
    """Start a command as a user does, one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*COMMAND, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def signal_when(process: subprocess.Popen[str], condition: Callable[[], bool], number: signal.Signals) -> bool:
    """Send a signal as soon as a condition holds and wait for the end; False if the process ended before."""
    while process.poll() is None:
        if condition():
            process.send_signal(number)
            process.wait(timeout=1800)
            return True
        try:
            process.wait(timeout=0.002)
        except subprocess.TimeoutExpired:
            continue
    return False


def outcome(run: Path) -> dict[str, str]:
    """SHA-256 of all that a finished run leaves and that must not depend on interruptions."""
    last = sorted((run / "checkpoints").glob("step-*"))[-1]
    files = [last / f"{n}.safetensors" for n in ("weights", "optimiser", "states")]
    files += [run / "bundle" / n for n in ("model.safetensors", "tokenizer/tokenizer.json")]
    hashes = {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    best = run / "checkpoints" / "best"
    described = yaml.safe_load((run / "bundle" / "bundle.yaml").read_text())
    described["provenance"].pop("code")  # somebody may be at work on the sources while this runs
    return {**hashes, "bundle.yaml": str(described), "best": best.resolve().name if best.is_symlink() else ""}


def main() -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draws = random.Random(options.seed)
    from medvlp.phantom.cohort import make_cohort

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hospital = make_cohort(folder / "hospital", patients=12, image_size=128, workers=1).root
        config = write_tree(folder / "config.yaml", long_tree(folder / "whole", hospital, folder / "cache"))
        begun = time.perf_counter()
        whole = start("train", str(config))
        whole.communicate()
        took = time.perf_counter() - begun
        expected = outcome(folder / "whole")
        moments: list[float] = []
        starts, same, number = 0, True, 0
        while len(moments) < options.kills:
            run = folder / f"run-{number}"
            number += 1
            ended = False
            while not ended:
                starts += 1
                process, at, begun = (
                    start("train", str(config), f"run={run}"),
                    draws.uniform(0.1, took),
                    time.monotonic(),
                )
                enough = len(moments) >= options.kills
                killed = not enough and signal_when(
                    process, lambda begun=begun, at=at: time.monotonic() - begun >= at, signal.SIGKILL
                )
                if killed:
                    moments.append(round(at, 3))
                else:
                    process.communicate()
                    ended = True
                    took = min(took, time.monotonic() - begun)  # moments follow the machine's load
            same = same and process.returncode == 0 and outcome(run) == expected
    found = {"kills": len(moments), "starts": starts, "runs": number, "seconds_alone": round(took, 2)}
    print(json.dumps({"benchmark": "kill_resume", **found, "moments": moments, "same_bytes": same}))
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
