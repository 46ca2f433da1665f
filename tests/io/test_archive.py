"""Archives are opened, not trusted: of forty that try to get out, swell or deceive, none writes a byte elsewhere."""

from __future__ import annotations

import io
import os
import stat
import struct
import tarfile
import tempfile
import zipfile

import numpy as np
import pytest

from medvlp.io import UnreadableImage, inspect, read_image, read_volume, unpacked
from medvlp.io.archive import opened
from tests.io.ct_series import check, write_series

PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 4)


@pytest.fixture
def study(dicom):
    return dicom(PIXELS).read_bytes()


def members(path):
    with opened(path) as found:
        return [member for member, _ in found]


def zipped(path, *entries, method=zipfile.ZIP_DEFLATED):
    """Write a zip; an entry is (name, content) or (name, content, unix mode)."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content, *mode in entries:
            info = zipfile.ZipInfo("x")
            info.filename = info.orig_filename = name
            info.compress_type = method
            info.external_attr = (mode[0] if mode else stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content)
    return path


def tarred(path, *entries, mode="w", form=tarfile.GNU_FORMAT):
    """Write a tar; an entry is (name, content) or (name, type, link target)."""
    with tarfile.open(path, mode, format=form) as archive:
        for name, content, *link in entries:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes) and not link:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content, link[0]
                archive.addfile(info)
    return path


MAKERS = {
    "zip": zipped,
    "stored zip": lambda path, *entries: zipped(path, *entries, method=zipfile.ZIP_STORED),
    "tar": tarred,
    "tar.gz": lambda path, *entries: tarred(path, *entries, mode="w:gz"),
    "pax": lambda path, *entries: tarred(path, *entries, form=tarfile.PAX_FORMAT),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_archive_of_one_image_is_that_image(tmp_path, study, kind):
    path = MAKERS[kind](tmp_path / "a.bin", ("series/1.dcm", study))
    assert read_image(path).pixels == pytest.approx(PIXELS / 11, abs=1e-6)
    assert inspect(path)["shape"] == [3, 4]


def test_what_macos_packs_beside_files_is_none_of_them(tmp_path, study, dicom):
    facts = b"\0\5\x16\7\0\2\0\0Mac OS X        "
    beside = [("__MACOSX/film/._a.dcm", facts), ("__MACOSX/._film", facts), ("film/.DS_Store", b"\0\0\0\1Bud1")]
    path = zipped(tmp_path / "a.zip", ("film/a.dcm", study), *beside)
    assert [each.name for each in members(path)] == ["film/a.dcm"]
    assert np.array_equal(read_image(path).pixels, read_image(dicom(PIXELS)).pixels)
    packed = tarred(tmp_path / "a.tar", ("film/._a.dcm", facts), ("film/a.dcm", study))  # as tar of macOS does
    assert [each.name for each in members(packed)] == ["film/a.dcm"]
    series = [(f"ct/{each.name}", each.read_bytes()) for each in write_series(dicom, tmp_path / "series").iterdir()]
    check(read_volume(zipped(tmp_path / "ct.zip", *series, ("__MACOSX/ct/._1", facts))))


@pytest.mark.parametrize("kind", MAKERS)
def test_of_several_images_one_is_chosen_by_name(tmp_path, study, dicom, kind):
    other = dicom(PIXELS.T.copy()).read_bytes()
    path = MAKERS[kind](tmp_path / "a.bin", ("a/1.dcm", study), ("./a/2.dcm", other))
    assert [member.name for member in members(path)] == ["a/1.dcm", "a/2.dcm"]
    with pytest.raises(
        UnreadableImage, match=r"several_images.*holds 2 files; name one of its files \(member=; --member of"
    ):
        read_image(path)
    assert read_image(path, member="a/2.dcm").shape == (4, 3)
    with pytest.raises(UnreadableImage, match="not_found"):
        read_image(path, member="a/3.dcm")


@pytest.mark.parametrize("kind", MAKERS)
def test_unpacked_is_private_and_removed(tmp_path, study, kind):
    path = MAKERS[kind](tmp_path / "a.bin", ("a/1.dcm", study), ("a/b/2.dcm", study))
    with unpacked(path) as folder:
        found = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
        assert found == ["a/1.dcm", "a/b/2.dcm"]
        assert (folder / "a/1.dcm").read_bytes() == study
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "a/1.dcm").stat().st_mode & 0o777 == 0o600
    assert not folder.exists()


def test_member_of_a_file_that_is_no_archive(dicom):
    with pytest.raises(UnreadableImage, match="it is no archive"):
        read_image(dicom(PIXELS), member="a")


def test_dicom_whose_preamble_is_the_head_of_a_zip_is_dicom(dicom):
    path = dicom(PIXELS, preamble=b"PK\x03\x04" + b"\0" * 124)
    assert read_image(path).shape == (3, 4)


# --- hostile ones ----------------------------------------------------------------------------------------------------

NAMES = {
    "parent": "../evil.dcm",
    "parent in the middle": "a/../../evil.dcm",
    "parent at the end": "a/..",
    "absolute": "ABSOLUTE/evil.dcm",
    "two slashes": "//server/evil.dcm",
    "backslashes": "..\\evil.dcm",
    "drive": "C:\\evil.dcm",
    "drive without slash": "C:evil.dcm",
    "long": "a" * 250,
    "deep": "a/" * 600 + "evil.dcm",
    "nested zip": "a/inner.zip",
    "nested tar": "inner.tar.gz",
}
LINKS = {
    "symlink out": (stat.S_IFLNK, tarfile.SYMTYPE, "/etc/passwd"),
    "symlink within": (stat.S_IFLNK, tarfile.SYMTYPE, "1.dcm"),
    "hard link": (stat.S_IFLNK, tarfile.LNKTYPE, "../../etc/passwd"),
    "device": (stat.S_IFCHR, tarfile.CHRTYPE, ""),
    "block device": (stat.S_IFBLK, tarfile.BLKTYPE, ""),
    "pipe": (stat.S_IFIFO, tarfile.FIFOTYPE, ""),
    "sparse": (stat.S_IFSOCK, tarfile.GNUTYPE_SPARSE, ""),
}


def hostile(tmp_path, study):
    """Yield what it is, the archive, and the reasons for which it may be refused."""
    unsafe = {"unsafe_archive"}
    for number, (what, name) in enumerate(NAMES.items()):
        name = name.replace("ABSOLUTE", str(tmp_path / "outside"))
        yield what, zipped(tmp_path / f"n{number}.zip", ("1.dcm", study), (name, b"evil")), unsafe
        yield what, tarred(tmp_path / f"n{number}.tar", ("1.dcm", study), (name, b"evil")), unsafe
    for number, (what, (mode, kind, target)) in enumerate(LINKS.items()):
        entry = ("link", target.encode(), mode | 0o777)
        yield what, zipped(tmp_path / f"l{number}.zip", ("1.dcm", study), entry), unsafe
        path = tarred(tmp_path / f"l{number}.tar", ("1.dcm", study), ("link", kind, target), ("link/evil.dcm", study))
        yield what, path, unsafe
    yield "NUL", zipped(tmp_path / "nul.zip", ("1.dcm\0/../../evil", b"evil")), unsafe
    yield "twice", zipped(tmp_path / "twice.zip", ("1.dcm", study), ("./1.DCM", b"evil")), unsafe
    yield "file is a folder", tarred(tmp_path / "both.tar", ("a", study), ("a/b", b"evil")), unsafe
    inner = zipped(tmp_path / "inner.zip", ("1.dcm", study)).read_bytes()
    yield "archive by content", zipped(tmp_path / "nest.zip", ("1.dcm", inner)), unsafe
    inner = tarred(tmp_path / "inner.tar", ("1.dcm", study), mode="w:gz").read_bytes()
    yield "tar in a tar", tarred(tmp_path / "nest.tar", ("1.dcm", inner)), unsafe
    zeros = b"\0" * (65 << 20)
    yield "bomb", zipped(tmp_path / "bomb.zip", ("1.dcm", zeros)), {"too_large"}
    yield "bomb in gzip", tarred(tmp_path / "bomb.tar.gz", ("1.dcm", zeros), mode="w:gz"), {"too_large"}
    yield "size that lies", lying_zip(tmp_path / "lie.zip", study), {"corrupt"}
    yield "shared bytes", overlapping_zip(tmp_path / "overlap.zip"), {"too_large"}
    for number, what in enumerate(("header", "attribute")):
        yield f"negative size in a {what}", negative_size(tmp_path / f"negative{number}.tar", study, what), {"corrupt"}
    yield "long name", long_name(tmp_path / "long.tar"), {"too_large"}
    data = zipped(tmp_path / "cut.zip", ("1.dcm", study)).read_bytes()
    (tmp_path / "cut.zip").write_bytes(data[: len(data) // 2])
    yield "cut zip", tmp_path / "cut.zip", {"corrupt", "truncated"}
    data = tarred(tmp_path / "cut.tar", ("1.dcm", study + bytes(5000))).read_bytes()
    (tmp_path / "cut.tar").write_bytes(data[:2000])
    yield "cut tar", tmp_path / "cut.tar", {"corrupt", "truncated"}


def lying_zip(path, study):
    """The directory claims one byte less than there is."""
    data = bytearray(zipped(path, ("1.dcm", study)).read_bytes())
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = struct.pack("<I", len(study) - 1)
    path.write_bytes(bytes(data))
    return path


def overlapping_zip(path):
    """A thousand entries of the directory share one local file of 100 kB (the idea of Fifield's bomb)."""
    data = zipped(path, ("f0000.dcm", b"\0" * 100_000)).read_bytes()
    at, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    entries = b"".join(data[at:end].replace(b"f0000", b"f%04d" % number) for number in range(1000))
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1000, 1000, len(entries), at, 0)
    path.write_bytes(data[:at] + entries + tail)
    return path


def negative_size(path, study, where):
    """A size below zero, on which a reader of tar goes back to the same header again and again."""
    info = tarfile.TarInfo("1.dcm")
    if where == "header":
        data = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        data[124:136] = b"\xff" * 10 + b"\xfe\0"  # base 256, POSIX.1-1988 as GNU extends it: -512
        data[148:156] = b" " * 8
        data[148:156] = b"%06o\0 " % sum(data[:512])
    else:
        info.pax_headers = {"size": "-512"}
        data = info.tobuf(tarfile.PAX_FORMAT)
    path.write_bytes(bytes(data) + study)
    return path


def long_name(path):
    """A header of GNU tar that announces a name of 8 GB, which a reader would fetch into memory."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 8 << 30
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"a" * 4096)
    return path


def everything(folder):
    return sorted(f"{where}/{name}" for where, folders, files in os.walk(folder) for name in folders + files)


def test_no_hostile_archive_writes_anywhere(tmp_path, study, monkeypatch):
    for name in ("archives", "temporary", "outside"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path / "outside")
    cases = list(hostile(tmp_path / "archives", study))
    before = everything(tmp_path)
    assert len(cases) >= 40
    for what, path, reasons in cases:
        with pytest.raises(UnreadableImage) as refused, unpacked(path):
            pass
        assert refused.value.reason in reasons, (what, path.suffix, str(refused.value))
        assert refused.value.path == str(path)
        assert everything(tmp_path) == before, what
        with pytest.raises(UnreadableImage):
            read_image(path, member="1.dcm" if "1.dcm" in str(path) else None)
    assert everything(tmp_path) == before


def test_encrypted_zip_says_so(tmp_path, study):
    data = bytearray(zipped(tmp_path / "a.zip", ("1.dcm", study)).read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1  # general purpose bit 0, APPNOTE 4.4.4
    (tmp_path / "a.zip").write_bytes(bytes(data))
    with pytest.raises(UnreadableImage, match="it is encrypted; unpack it with its password"):
        read_image(tmp_path / "a.zip")


def test_what_is_too_large_unpacked_is_told_in_megabytes_and_with_what_helps(tmp_path):
    path = zipped(tmp_path / "a.zip", ("1.dcm", b"\0" * (65 << 20)))
    told = r"larger than 64 MB unpacked; if you trust it, unpack it and give its files\.$"
    with pytest.raises(UnreadableImage, match=told), unpacked(path):
        pass


def test_empty_archive(tmp_path):
    with pytest.raises(UnreadableImage, match="the archive holds no file"):
        read_image(zipped(tmp_path / "a.zip"))


@pytest.mark.parametrize("inside", ["", "study/series/"])
def test_a_series_in_an_archive_is_the_volume_of_its_folder(dicom, tmp_path, inside):
    folder = write_series(dicom, tmp_path / "series")
    files = [(inside + path.name, path.read_bytes()) for path in sorted(folder.iterdir())]
    volume, packed = read_volume(folder), read_volume(zipped(tmp_path / "a.zip", *files))
    check(packed)
    assert np.array_equal(packed.affine, volume.affine)
    assert packed.geometry == volume.geometry
    assert inspect(tmp_path / "a.zip")["kind"] == "volume"


def test_a_refused_series_in_an_archive_names_the_archive(dicom, tmp_path):
    folder = write_series(dicom, tmp_path / "series", only=(0, 1, 2, 5, 6))
    path = zipped(tmp_path / "a.zip", *((path.name, path.read_bytes()) for path in folder.iterdir()))
    with pytest.raises(UnreadableImage) as refused:
        read_volume(path)
    assert (refused.value.reason, refused.value.path) == ("gap", str(path))
    assert read_volume(path, on_gap="resample").shape == (7, 10, 12)


def test_pictures_in_an_archive_are_chosen_by_name(tmp_path, dicom):
    picture = dicom(PIXELS).read_bytes()
    path = zipped(tmp_path / "a.zip", ("1.dcm", picture), ("2.dcm", picture))
    assert inspect(path)["unreadable"] == "several_images"
    assert inspect(path, member="2.dcm")["kind"] == "image"
