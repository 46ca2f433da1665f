"""Kill a training run with SIGKILL at many moments; what it ends with must be what it would have ended with.

    python tests/benchmarks/kill_resume.py --kills 20

prints one JSON line: kills, starts, the moments (seconds after each start), and whether weights, optimiser, states and
the released bundle have the SHA-256 of a run that was left alone. Exit 1 if not.

    python tests/benchmarks/kill_resume.py --kills 2 --processes 2 --parallel fsdp

kills one of the processes that torchrun started; torchrun must start all of them again, and they go on by themselves.
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

COMMAND = [sys.executable, "-m", "medvlp"]


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


def start(*words: str, processes: int = 1) -> subprocess.Popen[str]:
    """Start a command as a user does, one thread; several processes under torchrun, which starts them once again."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = COMMAND
    if processes > 1:
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
        several = ["--standalone", "--nproc-per-node", str(processes), "--max-restarts", "1", "-m", COMMAND[2]]
        command = [sys.executable, "-m", "torch.distributed.run", *several]
    return subprocess.Popen(
        [*command, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def kill_one(run: Path, config: Path, *, processes: int, parallel: str, draws: random.Random) -> dict[str, object]:
    """Start a run under torchrun and kill one process, drawn with the moment, after its first steps."""
    begun = time.monotonic()
    process = start("train", str(config), f"run={run}", f"training.parallel={parallel}", processes=processes)
    victim, after = draws.randrange(processes), draws.uniform(0, 3)
    log = run / "log.jsonl"
    while process.poll() is None and not (log.is_file() and log.read_text().count('"train"') >= 3):
        time.sleep(0.02)
    time.sleep(after)
    children = [int(each) for each in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    ranks = {_rank_of(child): child for child in children}
    seen = len(log.read_text().splitlines())
    os.kill(ranks[str(victim)], signal.SIGKILL)
    errors = process.communicate()[1]
    return {
        "victim": victim,
        "rows_before": seen,
        "seconds": round(time.monotonic() - begun, 1),
        "exit": process.returncode,
        "sentence": next((line for line in errors.splitlines() if "lost another one" in line), ""),
    }


def _rank_of(process: int) -> str:
    pairs = [each.partition("=") for each in Path(f"/proc/{process}/environ").read_text().split("\0")]
    return {name: value for name, _, value in pairs}.get("RANK", "")


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
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--parallel", default="ddp")
    options = parser.parse_args()
    draws = random.Random(options.seed)
    from medvlp.phantom.cohort import make_cohort

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hospital = make_cohort(folder / "hospital", patients=12, image_size=128, workers=1).root
        config = write_tree(folder / "config.yaml", long_tree(folder / "whole", hospital, folder / "cache"))
        begun = time.perf_counter()
        parallel = f"training.parallel={options.parallel}"
        whole = start("train", str(config), parallel, processes=options.processes)
        whole.communicate()
        took = time.perf_counter() - begun
        expected = outcome(folder / "whole")
        if options.processes > 1:
            runs = [folder / f"run-{number}" for number in range(options.kills)]
            of_run = {"processes": options.processes, "parallel": options.parallel, "draws": draws}
            found = [kill_one(run, config, **of_run) for run in runs]
            same = all(each["exit"] == 0 for each in found) and all(outcome(run) == expected for run in runs)
            about = {"processes": options.processes, "parallel": options.parallel, "seconds_alone": round(took, 2)}
            print(json.dumps({"benchmark": "kill_resume", **about, "kills": found, "same_bytes": same}))
            return 0 if same else 1
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
