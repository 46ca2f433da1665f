"""The scripts of the page about clusters: a shell, torchrun and our own command line take them as they stand."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from torch.distributed.run import get_args_parser

from medvlp.cli.main import app
from medvlp.config.tree import load_config
from tests.tiny import tiny_tree, write_tree

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "cluster.md"
TEXT = PAGE.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)


def from_slurm(tmp_path: Path) -> list[list[str]]:
    """What the batch script gives to srun, by running it with stand-ins for the programs of a cluster."""
    stands = {"srun": "printf '%s\\0' \"$@\"", "scontrol": "printf 'node1\\nnode2\\n'", "medvlp": "exit 1"}
    for name, body in stands.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {"JOB_NODELIST": "node[1-2]", "CPUS_PER_TASK": "32", "JOB_NUM_NODES": "2", "JOB_ID": "77"}
    environment = {f"SLURM_{key}": value for key, value in slurm.items()}
    environment |= {"PATH": f"{tmp_path}:{os.environ['PATH']}", "USER": "somebody"}
    found = []
    for script in blocks("bash"):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True, env=environment)
        done = subprocess.run(["bash"], input=script, text=True, check=True, env=environment, capture_output=True)
        words = done.stdout.split("\0")[:-1]
        found.append(words[words.index("torchrun") + 1 :])
    return found


def documents() -> list[dict[str, Any]]:
    return [each for block in blocks("yaml") for each in yaml.safe_load_all(block)]


def from_kubernetes(tmp_path: Path) -> list[list[str]]:
    jobs = [each for each in documents() if each["kind"] == "Job"]
    containers = [each["spec"]["template"]["spec"]["containers"][0] for each in jobs]
    assert [each["command"] for each in containers] == [["torchrun"]]
    return [each["args"] for each in containers]


@pytest.mark.parametrize("commands", [from_slurm, from_kubernetes], ids=["slurm", "kubernetes"])
def test_torchrun_and_medvlp_take_what_they_are_given(commands: Any, tmp_path: Path) -> None:
    (words,) = commands(tmp_path)
    given = get_args_parser().parse_args(words)
    assert (given.nnodes, given.nproc_per_node, given.max_restarts, given.rdzv_backend) == ("2", "4", 3, "c10d")
    host, port = given.rdzv_endpoint.split(":")
    assert (host, port) == ({from_slurm: "node1", from_kubernetes: "chest-0.chest"}[commands], "29500")
    assert Path(given.training_script).name == "medvlp"
    verb, *rest = given.training_script_args
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    parsed = command.make_context(verb, list(rest)).params
    assert parsed["config"] == "/shared/chest.yaml"
    # Every override is a key of a configuration.
    config = write_tree(tmp_path / "c.yaml", tiny_tree(tmp_path / "run", tmp_path, tmp_path))
    tree = load_config(config, parsed["overrides"])
    assert (tree.run, tree.training.workers) == ("/shared/runs/chest", 7)
    assert tree.training.batch % (int(given.nnodes) * int(given.nproc_per_node)) == 0


def test_slurm_has_one_torchrun_a_machine_and_signals_it_before_the_time_is_over() -> None:
    (script,) = blocks("bash")
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", script, flags=re.MULTILINE))
    assert (asked["ntasks-per-node"], asked["gpus-per-node"], asked["signal"]) == ("1", "4", "TERM@120")


def test_the_pods_meet_under_the_name_that_the_service_gives_them() -> None:
    service, job = documents()
    pod = job["spec"]["template"]["spec"]
    assert service["metadata"]["name"] == pod["subdomain"] == "chest"
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 2
    (container,) = pod["containers"]
    assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}
    (waits,) = [int(each["value"]) for each in container["env"] if each["name"] == "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"]
    assert waits < pod["terminationGracePeriodSeconds"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 4
