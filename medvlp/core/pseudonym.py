"""Identifiers of patients replaced by keyed hashes: equal stays equal, and without the key nobody can try them out.

A plain hash of a patient number is undone by hashing all numbers; HMAC-SHA256 under a secret of this installation is
not. Whoever needs the same pseudonyms on another machine copies the key file.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from medvlp.core.errors import DataError
from medvlp.core.files import refuse_write

_BYTES = 32


def default_key_file() -> Path:
    """``~/.config/medvlp/pseudonym.key``."""
    return Path.home() / ".config" / "medvlp" / "pseudonym.key"


def secret_key(path: Path | None = None) -> bytes:
    """Read the installation's key, or make one (mode 0600) where there is none.

    Raises:
        DataError: if the file is not a key.
        UserError: if none can be made there.
    """
    path = path or default_key_file()
    if not path.exists():
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as handle:
                handle.write(secrets.token_hex(_BYTES) + "\n")
                handle.flush()
                os.fsync(handle.fileno())
            with suppress(FileExistsError):  # another process was first
                os.link(temporary, path)
        except OSError as error:
            refuse_write(error, path)
        finally:
            with suppress(OSError):
                temporary.unlink()
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (UnicodeDecodeError, ValueError):
        key = b""
    if len(key) != _BYTES:
        raise DataError(f"{path} is not a pseudonym key of {_BYTES} bytes in hex: name another file, or restore it.")
    return key


def pseudonym(value: str, key: bytes, *, prefix: str) -> str:
    """Return ``prefix`` and 16 hex digits; empty for an empty value.

    Example:
        >>> pseudonym("4711", b"k" * 32, prefix="p") == pseudonym("4711", b"k" * 32, prefix="p")
        True
        >>> pseudonym("", b"k" * 32, prefix="p")
        ''
    """
    if not value:
        return ""
    return prefix + hmac.new(key, value.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:16]
