"""Compressed pixels are decoded in a helper process: whatever happens there, the reader goes on and says why."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from medvlp.core.errors import UserError
from medvlp.data.facts import read_facts
from medvlp.io import UnreadableImage, read_image
from medvlp.io.sandbox import client
from medvlp.io.sandbox.client import _State, close_helper, decode

RLE = "1.2.840.10008.1.2.5"
VALUES = np.random.default_rng(3).integers(0, 256, (6, 5)).astype(np.uint8)
SIZES = {"rows": 6, "columns": 5, "samples": 1, "bits_allocated": 8}
PROMISED = {"shapes": [(6, 5)], "dtypes": ["|u1"], "size": 30}


def rle(values):
    """One RLE segment of literal runs (PS3.5 annex G.3.1: a count byte n, then n + 1 bytes)."""
    runs = b"".join(bytes([len(row) - 1]) + row.tobytes() for row in values)
    return struct.pack("<16I", 1, 64, *[0] * 14) + runs + b"\0" * (len(runs) % 2)


def helper_pid():
    return _State.helper.process.pid


def decoded(values=VALUES, **options):
    return decode("rle", rle(values), SIZES, **{**PROMISED, **options}).pixels


def stopped(work):
    """Run `work` in a thread against a helper that has been put to sleep; return the helper and what work raises."""
    decoded()
    pid, raised = helper_pid(), []

    def run():
        try:
            work()
        except UnreadableImage as error:
            raised.append(error)

    os.kill(pid, signal.SIGSTOP)
    thread = threading.Thread(target=run)
    thread.start()
    return pid, thread, raised


def gone(pid, seconds=60):
    """Whether the process ends within some time; a process that ended but was not waited for is a zombie."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def script(text, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text), *map(str, arguments)], capture_output=True, text=True, **options
    )


def test_codecs_are_loaded_into_the_helper_only_and_torch_is_not(tmp_path, dicom):
    path = dicom(b"", rows=6, columns=5, bits=8, syntax=RLE, compressed=[rle(VALUES)])
    (tmp_path / "a.jpg").write_bytes(imagecodecs.jpeg8_encode(VALUES))
    said = script(
        """
        import sys
        from pathlib import Path
        from medvlp.io import read_image
        from medvlp.io.sandbox.client import _State
        for path in sys.argv[1:]:
            read_image(path)
        loaded = Path(f"/proc/{_State.helper.process.pid}/maps").read_text()
        print("imagecodecs" in sys.modules)
        print([name for name in ("imagecodecs", "PIL", "torch", "pandas", "pyarrow") if f"/{name}/" in loaded])
        """,
        path,
        tmp_path / "a.jpg",
    )
    assert said.stdout == "False\n['imagecodecs', 'PIL']\n", said.stderr


def test_one_helper_serves_all_frames():
    decoded()
    first = helper_pid()
    assert (decoded(255 - VALUES) == 255 - VALUES).all()
    assert helper_pid() == first != os.getpid()


def test_threads_get_their_own_pixels():
    results = {}

    def work(shift):
        results[shift] = [decoded(VALUES + np.uint8(shift)) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(shift,)) for shift in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for shift in range(6):
        assert all((pixels == VALUES + np.uint8(shift)).all() for pixels in results[shift])


def test_helper_that_died_between_two_files_is_replaced_without_a_word():
    decoded()
    os.kill(helper_pid(), signal.SIGKILL)
    assert (decoded() == VALUES).all()


def test_file_is_not_blamed_when_the_system_ends_a_helper_that_served_others():
    results = []
    pid, thread, raised = stopped(lambda: results.append(decoded()))
    os.kill(pid, signal.SIGKILL)
    thread.join()
    assert raised == []
    assert (results[0] == VALUES).all()


def test_memory_fault_in_a_decoder_is_a_refusal_that_names_the_signal(dicom):
    path = dicom(b"", rows=6, columns=5, bits=8, syntax=RLE, compressed=[rle(VALUES)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "_START", HOSTILE.replace("ANSWER", "os.kill(os.getpid(), 11)"))
        close_helper()
        with pytest.raises(
            UnreadableImage, match=r"ended the decoder \(SIGSEGV\); .*other files are not affected"
        ) as e:
            read_image(path)
    assert e.value.reason == "decoder_died"
    assert (read_image(path).pixels.argmax() == VALUES.argmax()).all()


def test_hanging_decoder_is_ended_in_time():
    pid, thread, raised = stopped(lambda: decoded(seconds=0.2))
    thread.join()
    assert [error.reason for error in raised] == ["timeout"]
    assert "within 0.2 seconds" in str(raised[0])
    assert gone(pid)
    assert (decoded() == VALUES).all()


# A helper in the hands of the file: it says that it is ready, then ANSWER.
HOSTILE = """
import json, os, struct, sys
def say(text): os.write(1, struct.pack("<I", len(text)) + text.encode())
say(json.dumps({"ready": os.getpid()}))
(size,) = struct.unpack("<I", os.read(0, 4))
request = json.loads(os.read(0, size))
shared = int(sys.argv[1])
ANSWER
os.read(0, 1)
"""


def claim(shape, dtype, written=0):
    answer = json.dumps({"shape": shape, "dtype": dtype, "facts": {}})
    return f"os.pwrite(shared, b'x' * {written}, request['size']); say({answer!r})"


def refusal(*parts):
    return f"say({json.dumps({'refused': parts})!r})"


LIES = {
    "another shape": (claim([6, 6], "|u1", 36), "corrupt"),
    "a negative shape": (claim([-6, -5], "|u1", 30), "corrupt"),
    "a shape of floats": (claim([6.5, 5], "|u1", 30), "corrupt"),
    "another dtype": (claim([6, 5], "<f8", 240), "corrupt"),
    "Python objects": (claim([6, 5], "|O", 240), "corrupt"),
    "pixels that are not there": (claim([6, 5], "|u1", 29), "decoder_died"),
    "a shortened file": ("os.ftruncate(shared, 0); " + claim([6, 5], "|u1"), "decoder_died"),
    "no JSON": ("say('{')", "decoder_died"),
    "JSON that is no object": ("say('[]')", "decoder_died"),
    "an endless message": ("os.write(1, b'\\xff' * 4)", "decoder_died"),
    "nothing": ("os.close(1); os._exit(0)", "decoder_died"),
    "an unknown reason": (refusal("rm -rf", "a", "b"), "decoder_died"),
    "control characters": (refusal("corrupt", "\x1b[2J", "b"), "decoder_died"),
    "a refusal in parts": (refusal("corrupt"), "decoder_died"),
}


@pytest.mark.parametrize("lie", LIES)
def test_nothing_that_a_hostile_helper_says_is_believed(monkeypatch, lie):
    answer, reason = LIES[lie]
    monkeypatch.setattr(client, "_START", HOSTILE.replace("ANSWER", answer))
    close_helper()
    with pytest.raises(UnreadableImage) as refused:
        decoded()
    assert refused.value.reason == reason
    monkeypatch.undo()
    close_helper()
    assert (decoded() == VALUES).all()


def test_helper_that_cannot_start_ends_the_command_and_no_file_is_left_out_for_it(dicom, monkeypatch):
    path = dicom(b"", rows=6, columns=5, bits=8, syntax=RLE, compressed=[rle(VALUES)])
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    close_helper()
    with pytest.raises(UserError, match=r"cannot be started \(.*No such file.*\): check that /nowhere/python can be"):
        read_facts(path)  # of an index: what is unreadable is not in the manifest
    monkeypatch.undo()
    assert (read_facts(path).reason, decoded().shape) == ("", VALUES.shape)


def test_a_limit_of_files_that_pixels_do_not_fit_in_ends_the_command_and_no_file_is_left_out_for_it(dicom):
    path = dicom(b"", rows=6, columns=5, bits=8, syntax=RLE, compressed=[rle(VALUES)])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    close_helper()
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
    try:
        with pytest.raises(
            UserError, match=r"^The limit of a file's size \(ulimit -f\) is below \d+ bytes, which pixels"
        ):
            read_facts(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        close_helper()
    assert read_facts(path).reason == ""


def test_helper_sees_neither_the_environment_nor_the_folder_of_the_data(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise SystemExit('code of the data was run')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.setenv("API_TOKEN", "secret")
    close_helper()
    assert (decoded() == VALUES).all()
    assert b"secret" not in Path(f"/proc/{helper_pid()}/environ").read_bytes()
    close_helper()


def read_in_child(path, pipe):
    pipe.send((read_image(path).pixels, helper_pid()))


def test_forked_daemonic_worker_starts_its_own_helper(dicom):
    path = dicom(b"", rows=6, columns=5, bits=8, syntax=RLE, compressed=[rle(VALUES)])
    here = read_image(path).pixels
    mine = helper_pid()
    receiver, sender = multiprocessing.Pipe(duplex=False)
    worker = multiprocessing.get_context("fork").Process(target=read_in_child, args=(path, sender), daemon=True)
    worker.start()
    there, other = receiver.recv()
    worker.join()
    assert (there == here).all()
    assert other not in (mine, None)
    assert gone(other)  # it ended with its worker
    assert helper_pid() == mine  # and the parent's did not
    assert (decoded() == VALUES).all()


def test_helper_ends_when_its_reader_is_killed(dicom):
    path = dicom(b"", rows=6, columns=5, bits=8, syntax=RLE, compressed=[rle(VALUES)])
    text = """
        import sys, time
        from medvlp.io import read_image
        from medvlp.io.sandbox.client import _State
        read_image(sys.argv[1])
        print(_State.helper.process.pid, flush=True)
        time.sleep(600)
    """
    reader = subprocess.Popen([sys.executable, "-c", textwrap.dedent(text), path], stdout=subprocess.PIPE)
    pid = int(reader.stdout.readline())
    assert not gone(pid, 0.1)
    reader.kill()
    reader.communicate()
    assert gone(pid)


# --- limits ----------------------------------------------------------------------------------------------------------


def test_system_ends_a_block_whose_time_is_over():
    said = script(
        """
        from medvlp.io.sandbox.helper import limited, prepare
        prepare()
        with limited(memory=1 << 28, seconds=0.2, written=0):
            while True:
                pass
        """
    )
    assert said.returncode == -signal.SIGALRM


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not enforce a limit of address space")
def test_allocation_beyond_the_limit_fails_and_the_limit_is_lifted_behind_the_block():
    said = script(
        """
        from medvlp.io.sandbox.helper import limited
        try:
            with limited(memory=200 << 20, seconds=60, written=0):
                small = bytearray(100 << 20)
                large = bytearray(300 << 20)
        except MemoryError:
            print(len(small) >> 20, len(bytearray(300 << 20)) >> 20)
        """
    )
    assert said.stdout == "100 300\n", said.stderr


def test_decoder_that_writes_beyond_its_pixels_is_stopped(tmp_path):
    said = script(
        """
        import sys
        from medvlp.io.sandbox.helper import limited, prepare
        prepare()
        with open(sys.argv[1], "wb", buffering=0) as stream, limited(memory=1 << 28, seconds=60, written=1000):
            print(stream.write(b"x" * 5000))
        """,
        tmp_path / "a",
    )
    assert (said.stdout, (tmp_path / "a").stat().st_size) == ("1000\n", 1000), said.stderr
