"""The command and the script that open the room."""

from __future__ import annotations

import ast

import pytest

from medvlp.cli.main import app
from medvlp.core.errors import UserError
from medvlp.core.resources import resource_folder

typer_testing = pytest.importorskip("typer.testing")


def test_others_are_let_in_only_with_a_list_of_users(tmp_path):
    told = typer_testing.CliRunner().invoke(app, ["demo", "--host", "0.0.0.0"])
    assert isinstance(told.exception, UserError)
    assert "give --auth FILE with users" in str(told.exception)


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
