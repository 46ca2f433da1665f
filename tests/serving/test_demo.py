"""The command and the script that open the room."""

from __future__ import annotations

import ast
import os
import signal
import socket
import subprocess
import sys

import pytest
import yaml

from medvlp.cli.main import app
from medvlp.core.errors import UserError
from medvlp.core.resources import resource_folder

typer_testing = pytest.importorskip("typer.testing")


def test_others_are_let_in_only_with_a_list_of_users(tmp_path):
    told = typer_testing.CliRunner().invoke(app, ["demo", "--host", "0.0.0.0"])
    assert isinstance(told.exception, UserError)
    assert "give --auth FILE with users" in str(told.exception)


def test_a_port_that_is_in_use_is_told_before_a_model_is_made_for_minutes(tmp_path, monkeypatch):
    pytest.importorskip("gradio")
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        told = typer_testing.CliRunner().invoke(app, ["demo", "--port", str(other.getsockname()[1])])
    assert "cannot be listened on (Address already in use): choose another --port." in str(told.exception)
    assert told.stdout == ""  # nor is a bundle named, or the quick start's offered


def test_a_password_becomes_a_line_that_lets_its_user_in(tmp_path):
    import base64

    from medvlp.serving.guard import Passwords

    told = typer_testing.CliRunner().invoke(app, ["demo", "--password", "jane"], input="secret\nsecret\n")
    line = told.stdout.strip().splitlines()[-1]
    assert "secret" not in line
    (tmp_path / "users").write_text(line)
    given = base64.b64encode(b"jane:secret").decode()
    assert Passwords(tmp_path / "users").allow(f"Basic {given}")
    wrong = typer_testing.CliRunner().invoke(app, ["demo", "--password", "a:b"])
    assert "choose another" in str(wrong.exception)


@pytest.mark.parametrize("path", sorted(resource_folder("apps").glob("*.py")), ids=lambda path: path.name)
def test_a_script_of_apps_imports_only_serving(path):
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    assert {name for name in names if name.startswith("medvlp")} <= {"medvlp.serving"}
    assert len(path.read_text("utf-8").splitlines()) <= 60


def of_torch(folder):
    """Let torch make the folder of its compiler elsewhere: it makes one wherever it is imported."""
    return {"TORCHINDUCTOR_CACHE_DIR": f"{folder}-compiler"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.usefixtures("hangup_heard")
def test_asked_to_stop_it_closes_and_leaves_nothing(tmp_path, number):
    pytest.importorskip("gradio")
    command = [sys.executable, "-m", "medvlp", "demo", "--port", "0"]
    environment = {**os.environ, **of_torch(tmp_path), "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as room:
        assert room.stdout is not None
        opened = any("The reading room is open at http://127.0.0.1:" in line for line in room.stdout)
        made = [path.name[:12] for path in tmp_path.iterdir()]
        room.send_signal(number)
        last = room.stdout.read()
    assert opened
    assert "medvlp-room-" in made  # timm imports wandb where it is, which makes folders for itself
    assert last == "The reading room is closed; nothing was kept.\n"
    assert room.returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_demo_for_a_host_of_demos_answers_anybody_and_takes_nothing(tmp_path):
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("gradio")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url, script = f"http://127.0.0.1:{port}", resource_folder("apps") / "app.py"
    environment = {**os.environ, **of_torch(tmp_path), "PORT": str(port)}
    environment |= {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen([sys.executable, script], cwd=tmp_path, env=environment, stdout=subprocess.PIPE) as room:
        try:
            assert room.stdout is not None
            assert b"The reading room is open at http://0.0.0.0:" in room.stdout.readline()
            with httpx.Client(base_url=url, timeout=60) as client:
                assert "<title>Reading room</title>" in client.get("/").text
                refused = client.post("/rr/studies", content=b"anything")
                assert refused.status_code == 422
                assert refused.json()["error"].startswith("Nothing can be uploaded here: this room is public")
                assert client.post("/rr/samples/0").json()["series"][0]["title"] == "CR PA · synthetic"
        finally:
            room.send_signal(signal.SIGINT)
    assert room.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_demos_is_a_space_as_it_lies_there():
    folder = resource_folder("apps")
    facts = yaml.safe_load((folder / "README.md").read_text("utf-8").split("---\n")[1])
    assert (facts["sdk"], facts["license"]) == ("gradio", "apache-2.0")
    assert (folder / facts["app_file"]).is_file()
    asked = (folder / "requirements.txt").read_text().splitlines()
    assert [line for line in asked if not line.startswith("#")] == ["openmedvlp[demo]"]
