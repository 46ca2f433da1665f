"""The wheel, built and installed for real: what it carries is found inside it."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

_LOOK = """
import sys
sys.path.insert(0, sys.argv[1])
import medvlp
from medvlp.core.resources import resource, resource_folder
assert medvlp.__file__.startswith(sys.argv[1]), medvlp.__file__
print(resource("configs", "pretrain/phantom_clip.yaml"))
for group in ("configs", "data_cards", "apps", "docs/results"):
    print(resource_folder(group))
from medvlp.config.tree import load_config
print(load_config("pretrain/phantom_siglip.yaml").phases[0].objectives[0]["name"])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Not find_spec("pip"): it takes setuptools's distutils from this process, which torch's compiler imports later.
    installed = {each.metadata["Name"] for each in importlib.metadata.distributions()}
    if absent := {"pip", "hatchling"} - installed:
        pytest.skip(f"not installed, which builds the wheel: {', '.join(sorted(absent))}")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "-q"]
    ran = subprocess.run([*command, "-w", str(folder)], capture_output=True, text=True, cwd=folder)
    assert ran.returncode == 0, ran.stderr
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_installed_from_its_wheel_it_finds_configs_cards_and_apps_inside_itself(wheel: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "-q",
        "--target",
        str(tmp_path / "site"),
        str(wheel),
    ]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    site = str((tmp_path / "site").resolve())
    found = subprocess.run([sys.executable, "-c", _LOOK, site], capture_output=True, text=True, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    share = f"{site}/medvlp/_share"
    assert found.stdout.splitlines() == [
        f"{share}/configs/pretrain/phantom_clip.yaml",
        f"{share}/configs",
        f"{share}/data_cards",
        f"{share}/apps",
        f"{share}/docs/results",
        "siglip",
    ]


@pytest.mark.slow
def test_its_name_and_its_content(wheel: Path) -> None:
    assert wheel.name.startswith("openmedvlp-")
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)
    assert "medvlp/pages/templates/report.html.jinja" in names
    assert "medvlp/evaluation/results.schema.json" in names
    shipped = {path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.yaml")}
    assert {f"medvlp/_share/{name}" for name in shipped} <= set(names)
    assert not any(name.startswith(("tests/", "medvlp/_share/tests")) or "__pycache__" in name for name in names)
