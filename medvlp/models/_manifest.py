"""``MANIFEST.sha256`` of a bundle: all that loading reads is as it was released."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medvlp.core.errors import UserError
from medvlp.core.files import sha256_of

_OPTIONAL = ("banks", "gate", "scores", "seen")


def check_manifest(folder: Path, within: str = "bundle") -> None:
    """Check each file of a bundle, `within` a run, against its hash, and that those read are listed (UserError)."""
    manifest = folder / "MANIFEST.sha256"
    if not manifest.is_file():
        inside = folder / within
        mend = (
            f"did you mean {inside}?" if (inside / manifest.name).is_file() else "name a folder that training released."
        )
        raise UserError(f"{folder} is not a bundle (it has no MANIFEST.sha256): {mend}")
    listed = set()
    for line in manifest.read_text(encoding="utf-8", errors="replace").splitlines():
        expected, _, name = line.partition("  ")
        listed.add(name)
        fault = _fault(folder, name, expected)
        if fault:
            raise UserError(f"{folder / name} {fault}: get the bundle again.")
    tokenizer = [path for path in (folder / "tokenizer").rglob("*") if not path.is_dir()]
    beside = [*tokenizer, *(folder / "int8").glob("*.onnx")]
    needed = {"model.safetensors", "bundle.yaml", "card.md", *(p.relative_to(folder).as_posix() for p in beside)}
    needed |= {f"{name}.safetensors" for name in _OPTIONAL if (folder / f"{name}.safetensors").exists()}
    if not needed <= listed:
        raise UserError(f"{manifest} does not list {', '.join(sorted(needed - listed))}: get the bundle again.")


def check_closed(spec: object, folder: Path) -> None:
    """Check that a model's specification names no weights elsewhere, on this machine or on a hub (UserError)."""
    component = spec if isinstance(spec, Mapping) and "name" in spec else {}
    if named := next((key for key in ("path", "pretrained", "weights") if component.get(key)), None):
        raise UserError(f"{folder} takes weights from elsewhere ({named}), which no bundle may: get the bundle again.")
    for each in spec.values() if isinstance(spec, Mapping) else spec if isinstance(spec, list) else ():
        check_closed(each, folder)


def _fault(folder: Path, name: str, expected: str) -> str:
    """Say what is wrong with a file that the manifest of a bundle lists; nothing where it is as it was released."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        by = "is a link that leads" if ".." not in Path(name).parts and not Path(name).is_absolute() else "lies"
        return f"{by} out of the bundle, which no file of it may"
    if not path.is_file():
        return "is listed in MANIFEST.sha256 and is not there"
    if sha256_of(path) != expected:
        return "is damaged or was changed since it was released (its SHA-256 differs from MANIFEST.sha256)"
    return ""
