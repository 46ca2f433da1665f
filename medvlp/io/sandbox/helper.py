"""The helper: takes one request after another, decodes under limits, and answers with pixels or a refusal.

It ends when the pipe from its reader closes, however the reader ended. (`PR_SET_PDEATHSIG` would fire when the *thread*
that started the helper ends, which in a pool of threads is long before the process.) A decoder that is at work when the
reader dies ends by its own limits.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from medvlp.io.errors import UnreadableImage
from medvlp.io.sandbox.limits import limited, prepare
from medvlp.io.sandbox.protocol import receive, send
from medvlp.io.sandbox.shared import SharedFile

Pixels = tuple[np.ndarray, dict[str, object]]
"""What a job returns: integers, and plain facts about them."""


def _jpeg_family(source: BinaryIO, size: int, *, codestream: dict[str, Any], to_rgb: bool) -> Pixels:
    from medvlp.io.codecs import Codestream, decode_jpeg_family

    return decode_jpeg_family(source.read(size), Codestream(**codestream), to_rgb=to_rgb), {}


def _rle(source: BinaryIO, size: int, **sizes: int) -> Pixels:
    from medvlp.io.codecs import decode_rle

    return decode_rle(source.read(size), **sizes), {}


def _raster(source: BinaryIO, size: int, *, kind: str, page: int, deep: bool) -> Pixels:
    from medvlp.io.raster_decode import decode_raster

    return decode_raster(source, kind=kind, page=page, deep=deep)


JOBS: dict[str, Callable[..., Pixels]] = {"jpeg_family": _jpeg_family, "rle": _rle, "raster": _raster}


def main(address: str) -> None:
    """Answer requests until the pipe closes; `address` is that of the shared file."""
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):  # what a decoder prints must not get between two messages, nor onto a terminal
        os.dup2(nothing, standard)
    prepare()
    shared = SharedFile.at(address)
    send(answers, {"ready": os.getpid()})
    while True:
        try:
            request = receive(requests)
        except EOFError:
            return
        send(answers, _answer(request, shared))


def _answer(request: dict[str, Any], shared: SharedFile) -> dict[str, object]:
    try:
        with limited(**request["limits"]):
            shared.seek(0)
            pixels, facts = JOBS[request["job"]](shared, request["size"], **request["arguments"])
            pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
            shared.add(pixels, request["size"])
    except UnreadableImage as error:
        return {"refused": [error.reason, error.detail, error.hint]}
    except MemoryError:
        return {"refused": ["too_large", "decoding it takes more memory than its size allows", ""]}
    except BaseException as error:
        # Decoders written in Rust raise exceptions that are no Exception when they panic.
        return {"refused": ["corrupt", f"its pixels cannot be decoded ({type(error).__name__})", ""]}
    return {"shape": list(pixels.shape), "dtype": pixels.dtype.str, "facts": facts}
