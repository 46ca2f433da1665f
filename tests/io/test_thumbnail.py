"""A picture in a terminal has its colours, its proportions and no more lines than asked for."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys

import numpy as np
import pytest

from medvlp.io import Image
from medvlp.io.thumbnail import can_show, thumbnail

CELL = re.compile(r"\x1b\[38;2;(\d+);(\d+);(\d+)m\x1b\[48;2;(\d+);(\d+);(\d+)m\u2580")


def drawn(text):
    """Return what a terminal would show, (2 * lines, columns, 3)."""
    lines = [[list(map(int, cell)) for cell in CELL.findall(line)] for line in text.splitlines()]
    cells = np.array(lines)
    return np.stack([cells[..., :3], cells[..., 3:]], 1).reshape(2 * len(lines), -1, 3)


def test_each_character_shows_two_pixels():
    values = np.arange(24).reshape(4, 6) / np.float32(23)
    assert (drawn(thumbnail(Image(values), rows=2, columns=6)) == np.rint(255 * values)[..., None]).all()


def test_colour_is_kept():
    values = np.random.default_rng(0).integers(0, 256, (4, 6, 3))
    assert (drawn(thumbnail(Image((values / 255).astype(np.float32)), rows=2, columns=6)) == values).all()


def test_a_cell_is_the_mean_of_its_pixels():
    values = np.random.default_rng(0).random((64, 96)).astype(np.float32)
    means = values.reshape(4, 16, 6, 16).mean((1, 3))
    assert np.abs(drawn(thumbnail(Image(values), rows=2, columns=6))[..., 0] - 255 * means).max() <= 0.5 + 1e-4


@pytest.mark.parametrize(
    ("shape", "spacing", "expected"),
    [((100, 100), None, (64, 64)), ((100, 400), None, (20, 80)), ((400, 100), None, (64, 16)),
     ((100, 100), (2.0, 1.0), (64, 32)), ((3, 3), None, (64, 64)), ((1000, 1), None, (64, 1))],
)  # fmt: skip
def test_proportions_in_millimetres_within_32_lines_and_80_columns(shape, spacing, expected):
    image = Image(np.zeros(shape, np.float32), spacing=spacing)
    assert drawn(thumbnail(image)).shape[:2] == expected


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("environment", "can"),
    [({"COLORTERM": "truecolor"}, True), ({"COLORTERM": "24bit"}, True), ({}, False), ({"COLORTERM": "yes"}, False),
     ({"COLORTERM": "truecolor", "NO_COLOR": "1"}, False)],
)  # fmt: skip
def test_only_where_the_terminal_says_that_it_has_the_colours(environment, can):
    assert can_show(Terminal(), environment) == can


def test_never_into_a_pipe_or_a_stream_that_cannot_write_the_block():
    assert not can_show(io.StringIO(), {"COLORTERM": "truecolor"})
    ascii_only = Terminal()
    ascii_only.encoding = "ascii"
    assert not can_show(ascii_only, {"COLORTERM": "truecolor"})


def inspected(path, *options):
    """Run the command on a terminal of its own and return what it prints there."""
    near, far = pty.openpty()
    environment = {**os.environ, "COLORTERM": "truecolor", "PYTHONIOENCODING": "utf-8"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "medvlp.cli.main", "inspect", str(path), *options]
    process = subprocess.Popen(command, stdout=far, stderr=far, env=environment)
    os.close(far)
    said = b""
    while True:
        try:
            piece = os.read(near, 65536)
        except OSError:  # Linux: the other side was closed
            break
        if not piece:
            break
        said += piece
    os.close(near)
    assert process.wait() == 0, said
    return said.decode()


def test_inspect_draws_on_a_terminal_but_never_into_json(dicom):
    path = dicom(np.arange(64, dtype=np.uint8).reshape(8, 8))
    assert drawn("".join(line for line in inspected(path).splitlines(True) if "\u2580" in line)).shape == (64, 64, 3)
    assert "\x1b" not in inspected(path, "--json")
