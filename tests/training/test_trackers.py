"""Real services without a network: what they got is read back from the files that they wrote."""

from __future__ import annotations

import getpass
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from medvlp.core import installed
from medvlp.core.errors import UserError
from medvlp.training.journal import Journal, read_journal
from medvlp.training.tracking import TRACKING, Tracking, sendable
from medvlp.training.trainer import Trainer
from tests.training.runs import make_setup

TREE = {"run": "runs/st_mary", "seed": 3, "model": {"name": "dual", "embed_dim": 8}, "data": {"root": "/st_mary"}}
Rows = dict[str, list[tuple[int, float]]]
SERVICES = ["mlflow", pytest.param("wandb", marks=pytest.mark.slow), pytest.param("trackio", marks=pytest.mark.slow)]


@pytest.fixture(scope="module", autouse=True)
def _trackio_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKIO_DIR", str(tmp_path_factory.mktemp("trackio")))  # read when it is imported
        yield


def spec(name: str, folder: Path, **options: str) -> dict[str, object]:
    """Trackio's folder is the process's, so each test has a project of its own."""
    pytest.importorskip(name, reason=f"{name} is not installed (extra track)")
    return {"name": name, "project": folder.name, **options}


def log(
    run: Path, specs: Sequence[Mapping[str, object]], rows: Sequence[int], *, start: int = 0, close: bool = True
) -> Journal:
    """Write rows as a run does that begins at `start`."""
    journal = Journal(run, samples_seen=start, tracking=Tracking(specs, TREE))
    for samples in rows:
        journal.write("train", samples, {"loss": samples / 2, "note": "x", "skipped": True, "norm": float("inf")})
        if samples % 20 == 0:
            journal.write("validate", samples, {"retrieval/recall@5": samples / 100})
    if close:
        journal.close()
    return journal


def expected(rows: Sequence[int]) -> Rows:
    validated = [(n, n / 100) for n in rows if n % 20 == 0]
    return {"train/loss": [(n, n / 2) for n in rows], "validate/retrieval/recall@5": validated}


def noted(run: Path) -> list[dict[str, Any]]:
    return json.loads((run / TRACKING).read_text())["services"]


# what each service holds ---------------------------------------------------------------------------------------------


def of_mlflow(run: Path) -> tuple[Rows, dict[str, str]]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=(run / "mlflow").as_uri())
    (found,) = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert (found.info.user_id, set(found.data.tags)) == ("unknown", {"mlflow.runName"})
    names = [name.replace("recall_5", "recall@5") for name in found.data.metrics]
    histories = [client.get_metric_history(found.info.run_id, name) for name in found.data.metrics]
    return {n: [(m.step, m.value) for m in h] for n, h in zip(names, histories, strict=True)}, dict(found.data.params)


def of_trackio(run: Path) -> tuple[Rows, dict[str, Any]]:
    from trackio import Api
    from trackio.sqlite_storage import SQLiteStorage

    (found,) = Api().runs(run.parent.name)
    rows = SQLiteStorage.get_logs(found.project, found.name)
    kept = [{k: v for k, v in row.items() if k != "timestamp"} for row in rows]
    config = dict(found.config)
    assert (config.pop("_Username"), config.pop("_Group")) == (None, None)
    assert config.pop("_Created")
    names = {name for row in kept for name in row if name != "step"}
    assert SQLiteStorage.get_system_logs(found.project, found.name) == []
    return {n: [(row["step"], row[n]) for row in kept if n in row] for n in names}, config


def of_wandb(run: Path) -> tuple[Rows, dict[str, Any]]:
    """The files of all starts of a run: they must be of one run id."""
    rows: Rows = {}
    config: dict[str, Any] = {}
    ids = set()
    # By name, which holds the second and the place within it; not by time, for a file may be closed late, see `closed`.
    for path in sorted((run / "wandb").glob("offline-run-*/*.wandb")):
        for record in closed(path):
            kind = record.WhichOneof("record_type")
            assert kind not in ("stats", "output_raw", "files", "environment"), kind
            if kind == "run":
                ids.add(record.run.run_id)
                assert record.run.host == ""
                config |= {each.key: json.loads(each.value_json) for each in record.run.config.update}
            if kind == "history":
                items = {"/".join(i.nested_key) or i.key: i.value_json for i in record.history.item}
                for name in (each for each in items if not each.startswith("_")):
                    rows.setdefault(name, []).append((int(items["_step"]), float(items[name])))
        for secret in (socket.gethostname(), getpass.getuser(), str(Path.cwd()), str(run)):
            assert f'"{secret}' not in path.read_text("latin1")
    assert ids == {noted(run)[0]["id"]}
    return rows, {key: value for key, value in config.items() if not key.startswith("_")}


def closed(path: Path) -> list[Any]:
    """The records of one start; its service may write the last of them after the run has ended here."""
    from wandb.proto.wandb_internal_pb2 import Record

    for _ in range(1000):
        found = [Record.FromString(raw) for raw in records(path.read_bytes())]
        if any(each.HasField("exit") for each in found):
            return found
        time.sleep(0.02)
    raise AssertionError(f"{path} was never closed")


def records(data: bytes, *, block: int = 32768) -> Iterator[bytes]:
    """The records of a log in LevelDB's form: pieces with a header of checksum, length and kind, none over a block."""
    place, whole = 7, b""
    while place + 7 <= len(data):
        left = block - place % block
        if left < 7:
            place += left
            continue
        size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        whole += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # a whole one, or the last piece
            yield whole
            whole = b""


READ = {"mlflow": of_mlflow, "trackio": of_trackio, "wandb": of_wandb}


# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_numbers_and_the_configuration_get_there_and_nothing_else(name: str, tmp_path: Path) -> None:
    run = tmp_path / "st_mary"
    log(run, [spec(name, tmp_path)], [10, 20, 30])
    rows, configuration = READ[name](run)
    assert rows == expected([10, 20, 30])
    plain = {"seed": "3", "model.name": "dual", "model.embed_dim": "8"}
    nested = {"seed": 3, "model": {"name": "dual", "embed_dim": 8}, "data": {}}
    assert configuration == (plain if name == "mlflow" else nested)


@pytest.mark.parametrize("name", SERVICES)
def test_a_run_that_goes_on_is_the_same_there_and_no_row_is_doubled(name: str, tmp_path: Path) -> None:
    run, services = tmp_path / "run", [spec(name, tmp_path)]
    log(run, services, [10, 20, 30])
    first = noted(run)[0]["id"]
    # Goes on from before its end twice, the first time without computing again what it had sent.
    log(run, services, [], start=10)
    log(run, services, [20, 30, 40], start=10)
    assert [row["samples_seen"] for row in read_journal(run / "log.jsonl")] == [10, 20, 20, 30, 40, 40]
    assert READ[name](run)[0] == expected([10, 20, 30, 40])
    assert [each["id"] for each in noted(run)] == [first]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_that_is_named_later_first_gets_the_rows_of_before(name: str, tmp_path: Path) -> None:
    run, services = tmp_path / "run", [spec(name, tmp_path)]
    log(run, [], [10, 20, 30])
    log(run, services, [30, 40], start=20)
    assert READ[name](run)[0] == expected([10, 20, 30, 40])
    log(run, [], [50], start=40)
    log(run, services, [60], start=50)
    assert READ[name](run)[0] == expected([10, 20, 30, 40, 50, 60])


def test_paths_addresses_data_and_selections_stay_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "st_mary").mkdir()
    (tmp_path / "reports.csv").touch()
    tree = {
        "run": "chest",
        "seed": 1,
        "init_from": "bundle",
        "data": {
            "root": "hospital",
            "where": {"site": ["St. Mary"]},
            "sets": {"st_mary": {"root": "x"}},
            "columns": {"patient_id": "who"},
            "prefix": [{"name": "read", "size": 32, "preset": "dicom_voi_v1", "file": "reports.csv"}],
        },
        "tokenizer": {"name": "transformers", "path": "st_mary", "max_length": 9},
        "model": {"text": {"path": "/srv/st_mary", "width": 8}, "heads": {"C:\\mary": 1, "b": ["ok", "s3://mary/x"]}},
        "banks": {"findings": {"file": "st_mary", "encoder": None}},
        "phases": [{"until": 8, "where": {"id.patient": ["P1"]}, "objectives": [{"name": "clip", "weight": 0.5}]}],
        "training": {"batch": 8, "track": [{"name": "mlflow", "uri": "https://who:secret@mary"}]},
        "evaluation": {"where": {"site": ["St. Mary"]}},
        "empty": "",
        "long": "w" * 5000,
    }
    assert sendable(tree) == {
        "seed": 1,
        "data": {"prefix": [{"name": "read", "size": 32, "preset": "dicom_voi_v1"}]},
        "tokenizer": {"name": "transformers", "max_length": 9},
        "model": {"text": {"width": 8}, "heads": {"b": ["ok"]}},
        "banks": {"findings": {"encoder": None}},
        "phases": [{"until": 8, "objectives": [{"name": "clip", "weight": 0.5}]}],
        "training": {"batch": 8},
        "empty": "",
        "long": "w" * 5000,
    }


def test_a_service_that_fails_in_the_middle_is_left_and_gets_what_it_lacks_on_resuming(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, services = tmp_path / "run", [spec("mlflow", tmp_path)]
    journal = log(run, services, [10], close=False)
    (run / "mlflow").rename(tmp_path / "away")
    (run / "mlflow").touch()
    with caplog.at_level(logging.WARNING, logger="medvlp"):
        for samples in (20, 30):
            journal.write("train", samples, {"loss": samples / 2})
        journal.close()
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith("mlflow failed (")
    assert "after 20 samples" in warning
    assert str(tmp_path) not in warning
    assert [row["samples_seen"] for row in read_journal(run / "log.jsonl")] == [10, 20, 30]
    (run / "mlflow").unlink()
    shutil.move(tmp_path / "away", run / "mlflow")
    log(run, services, [40], start=30)
    assert of_mlflow(run)[0]["train/loss"] == [(10, 5.0), (20, 10.0), (30, 15.0), (40, 20.0)]


KILLED = """
import os, signal, sys
from pathlib import Path
from medvlp.core.console import show_messages
from medvlp.training.journal import Journal
from medvlp.training.tracking import Tracking

show_messages()
journal = Journal(Path(sys.argv[1]), samples_seen=0, tracking=Tracking([{"name": "wandb"}], {}))
journal.write("train", 10, {"loss": 1.0})
for path in Path("/proc").glob("[0-9]*/cmdline"):
    words = path.read_bytes().split(b"\\0") if path.exists() else []
    if words[0].endswith(b"wandb-core") and str(os.getpid()).encode() in words:
        os.kill(int(path.parent.name), signal.SIGKILL)
        while path.exists() and path.read_bytes():
            pass
for samples in (20, 30):
    journal.write("train", samples, {"loss": 1.0})
journal.close()
print("went on")
"""


@pytest.mark.slow
def test_a_training_goes_on_when_wandb_s_process_is_killed(tmp_path: Path) -> None:
    spec("wandb", tmp_path)
    words = [sys.executable, "-c", KILLED, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout.splitlines()[-1] == "went on"
    assert done.stderr.count("wandb failed ") <= 1  # wandb notices at a row, at its end, or not at all
    assert len(read_journal(tmp_path / "log.jsonl")) == 3


def test_a_service_that_cannot_begin_is_one_sentence_before_anything_is_written(tmp_path: Path) -> None:
    run, services = tmp_path / "run", [spec("mlflow", tmp_path)]
    log(run, [], [10, 20])
    (run / "mlflow").touch()
    before = (run / "log.jsonl").read_bytes()
    with pytest.raises(UserError, match=r"^mlflow cannot be started \(.*\): mend that, or take it out of training"):
        log(run, services, [20], start=10)
    assert (run / "log.jsonl").read_bytes() == before
    assert not (run / TRACKING).exists()


@pytest.mark.parametrize("name", ["mlflow", "trackio", "wandb"])
def test_a_package_that_is_not_installed_is_one_sentence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=rf'^This needs {name}: run `pip install "openmedvlp\[track\]"`\.$'):
        Tracking([{"name": name}], {})


@pytest.mark.slow
def test_wandb_asks_for_no_key_in_the_middle_of_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    services = [spec("wandb", tmp_path) | {"offline": False}]
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(UserError, match=r"^wandb has no key on this machine: run `wandb login` once"):
        log(tmp_path / "run", services, [10])


def test_trackio_sends_nothing_away_because_of_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    services = [spec("trackio", tmp_path)]
    monkeypatch.setenv("TRACKIO_SPACE_ID", "somebody/space")
    with pytest.raises(UserError, match=r"^TRACKIO_SPACE_ID would send this run away"):
        Tracking(services, {})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlflow", "trackio"])  # wandb's process is not this one
def test_nothing_asks_the_network(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    services = [spec(name, tmp_path)]
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
    asked = []

    def look_up(host: str, *rest: object, **options: object) -> object:
        if host not in ("localhost", "127.0.0.1"):
            asked.append(host)
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    log(tmp_path / "run", services, [10, 20])
    assert asked == []


def test_a_training_tracks_what_its_log_has_through_an_interruption(tmp_path: Path) -> None:
    services = [spec("mlflow", tmp_path)]
    run = tmp_path / "run"
    options = {"log_every": 8, "checkpoint_every": 16, "validate_every": 24}

    def setup() -> Any:
        made = make_setup(run, options=options, validate=lambda model, seen: {"score": seen / 2})
        return type(made)(**{**vars(made), "tracking": Tracking(services, {"seed": 5})})

    with pytest.raises(UserError, match="interrupted"):
        Trainer(setup()).fit(stop_at=40)
    Trainer(setup()).fit()
    rows, configuration = of_mlflow(run)
    logged = read_journal(run / "log.jsonl")
    for kind, name in (("train", "loss"), ("validate", "score")):
        wanted = [(row["samples_seen"], row[name]) for row in logged if row["kind"] == kind]
        assert rows[f"{kind}/{name}"] == wanted
    assert configuration == {"seed": "5"}


def test_only_the_first_process_tracks(tmp_path: Path) -> None:
    journal = Journal(tmp_path, samples_seen=0, active=False, tracking=Tracking([spec("mlflow", tmp_path)], {}))
    journal.write("train", 8, {"loss": 1.0})
    journal.close()
    assert os.listdir(tmp_path) == []


def test_what_is_tracked_changes_nothing_that_is_learned(tmp_path: Path) -> None:
    from medvlp.config.recipe import full_tree, recipe_of
    from medvlp.config.tree import check_config
    from tests.tiny import tiny_tree

    plain = tiny_tree(tmp_path / "run", tmp_path, tmp_path)
    tracked = {**plain, "training": {**plain["training"], "track": [{"name": "wandb", "project": "chest"}]}}
    before, after = (check_config(tree, source="test") for tree in (plain, tracked))
    assert recipe_of(before) == recipe_of(after)
    (filled,) = full_tree(after)["training"]["track"]
    assert filled == {"name": "wandb", "project": "chest", "title": "", "offline": True}
