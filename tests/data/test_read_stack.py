"""Pictures of a study and frames of a cine are one stack; stack files hold slices or features of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import BasicTextSRStorage, ExplicitVRLittleEndian
from safetensors.torch import save_file

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.sample import Sample
from medvlp.data.cache import Cache
from medvlp.data.manifest import Manifest
from medvlp.data.marks import Drawn, seen
from medvlp.data.picture_files import stack_files
from medvlp.data.pipeline import apply_views
from medvlp.data.prepare import prepare
from medvlp.data.stack_files import FileStack, write_stack_file
from medvlp.data.stacks import LazyStack
from medvlp.data.stacks import stack_of as chosen_of
from medvlp.data.views.read import Read
from medvlp.data.views.read_stack import ReadStack
from medvlp.data.views.read_stack_file import ReadStackFile
from medvlp.io.errors import UnreadableImage
from tests.io.conftest import dicom_writer


def picture(path: Path, seed: int, size: tuple[int, int] = (20, 30)) -> Path:
    values = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    Image.fromarray(values).save(path)
    return path


def stack_of(source: object, view: ReadStack | ReadStackFile) -> LazyStack:
    stack = apply_views(Sample("a", {"stack": source}), [view]).fields["stack"]
    assert isinstance(stack, LazyStack)
    return stack


def alone(path: Path) -> torch.Tensor:
    out = Read(size=16)(Sample("a", {"image": str(path)}), torch.Generator()).fields["image"]
    assert isinstance(out, torch.Tensor)
    return out


def test_files_of_a_study_are_in_the_order_of_their_list_and_each_is_as_read_makes_it(tmp_path: Path) -> None:
    paths = [picture(tmp_path / "b.png", 1), picture(tmp_path / "a.png", 2, (31, 12))]
    stack = stack_of(tuple(map(str, paths)), ReadStack(size=16)).take()
    assert torch.equal(stack.pixels, torch.stack([alone(path) for path in paths]))
    assert stack.position.tolist() == [[0, 0, 0], [0, 0, 1]]


def test_a_folder_is_its_files_by_name(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    paths = [picture(tmp_path / "study" / f"{name}.png", seed) for seed, name in enumerate("cab")]
    stack = stack_of(str(tmp_path / "study"), ReadStack(size=16)).take([0, 2])
    assert torch.equal(stack.pixels, torch.stack([alone(paths[1]), alone(paths[0])]))


def test_frames_of_a_folder_are_in_the_order_of_their_numbers_and_hidden_files_are_none(tmp_path: Path) -> None:
    (tmp_path / "echo").mkdir()
    paths = [picture(tmp_path / "echo" / f"frame{number}.png", number) for number in (0, 1, 2, 9, 10, 11)]
    (tmp_path / "echo" / ".DS_Store").write_bytes(b"Bud1")
    (tmp_path / "echo" / "DICOMDIR").write_bytes(b"no picture")
    stack = stack_of(str(tmp_path / "echo"), ReadStack(size=16)).take()
    assert torch.equal(stack.pixels, torch.stack([alone(path) for path in paths]))


def test_names_of_one_number_stand_in_one_order_whichever_was_written_first(tmp_path: Path) -> None:
    names = [f"frame{zeros}1.png" for zeros in ("", "0", "00", "000", "0000")]
    for folder, order in (("one", names), ("other", names[::-1])):
        (tmp_path / folder).mkdir()
        for name in order:
            (tmp_path / folder / name).touch()
        assert [path.name for path in stack_files((tmp_path / folder,))] == sorted(names)


def test_a_report_beside_the_pictures_of_a_study_is_no_frame(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    paths = [picture(tmp_path / "study" / f"{name}.png", seed) for seed, name in enumerate("ab")]
    report = Dataset()
    report.SOPClassUID, report.SOPInstanceUID, report.Modality = BasicTextSRStorage, "1.2.3", "SR"
    report.file_meta = FileMetaDataset()
    report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(tmp_path / "study" / "aa.dcm", report, enforce_file_format=True)
    stack = stack_of(str(tmp_path / "study"), ReadStack(size=16)).take()
    assert torch.equal(stack.pixels, torch.stack([alone(path) for path in paths]))
    (tmp_path / "study" / "c.png").write_bytes(b"damaged")
    with pytest.raises(UnreadableImage, match=r"c\.png cannot be read"):
        stack_of(str(tmp_path / "study"), ReadStack(size=16))


def test_frames_of_a_cine_are_slices(tmp_path: Path) -> None:
    frames = np.random.default_rng(3).integers(0, 4096, (5, 12, 10)).astype(np.uint16)
    path = dicom_writer(tmp_path)(frames, {0x00280008: ("IS", 5), 0x00080060: ("CS", "US")})
    stack = stack_of(str(path), ReadStack(size=12)).take()
    assert stack.pixels.shape == (5, 1, 12, 12)
    assert stack.position[:, 2].tolist() == [0, 1, 2, 3, 4]
    from medvlp.io import read_image, resize_pad

    want = resize_pad(read_image(path, frame=3).pixels, 12).pixels
    assert float(np.abs(stack.pixels[3, 0].numpy() - want).max()) <= 1 / 510 + 1e-7


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path) -> None:
    """The same film with every two equal rows stored as one, twice as tall, is the same view (PS3.3 10.7.1.3)."""
    film = np.random.default_rng(4).integers(0, 4096, (8, 16)).astype(np.uint16)
    write, tags = dicom_writer(tmp_path), {0x00280030: ("DS", "0.4\\0.2")}
    square = write(film.repeat(2, axis=0), {0x00280030: ("DS", "0.2\\0.2")})
    tall = Read(size=8)(Sample("a", {"image": str(write(film, tags))}), torch.Generator())
    assert torch.equal(
        tall.fields["image"], Read(size=8)(Sample("a", {"image": str(square)}), torch.Generator()).fields["image"]
    )
    assert tall.records["image"].spacing == pytest.approx((0.4, 0.4))
    assert tall.records["image"].box == (0, 0, 16, 8)
    cine = write(np.stack([film, film[::-1]]), {**tags, 0x00280008: ("IS", 2)})
    made = apply_views(Sample("a", {"stack": str(cine)}), [ReadStack(size=8)])
    stack = chosen_of(made.fields["stack"])
    assert stack is not None
    assert torch.equal(stack.pixels[0], tall.fields["image"])
    assert made.records["stack"].box == (0, 0, 16, 8)


def test_boxes_and_masks_follow_the_frames_of_a_cine_and_the_pixels_of_a_stack_file(tmp_path: Path) -> None:
    frames = np.zeros((4, 12, 10), np.uint16)
    frames[1:3, 2:6, 4:10] = 4095
    path = dicom_writer(tmp_path)(frames, {0x00280008: ("IS", 4), 0x00080060: ("CS", "US")})
    boxes = Drawn("boxes", [[4, 2, 1, 10, 6, 3]])
    for bits, name in ((8, str(path)), (32, str(tmp_path / "a.safetensors"))):
        made = apply_views(Sample("a", {"stack": name, "boxes.f": boxes}), [ReadStack(size=24)] if bits == 8 else
                           [ReadStackFile()])  # fmt: skip
        stack, found = chosen_of(made.fields["stack"]), seen(made, "boxes.f")
        assert stack is not None
        assert isinstance(found, torch.Tensor)
        there = (stack.pixels[:, 0] > 0.5).nonzero().flip(1)
        assert found.tolist() == [[*there.amin(0).tolist(), *(there.amax(0) + 1).tolist()]]
        pixels = torch.from_numpy(frames)[:, None] / 4095
        save_file({"pixels": pixels, "position": torch.zeros(4, 3)}, tmp_path / "a.safetensors")
    several = [picture(tmp_path / f"{seed}.png", seed, (20 + seed, 30)) for seed in range(2)]
    unlike = apply_views(Sample("a", {"stack": tuple(map(str, several)), "boxes.f": boxes}), [ReadStack(size=16)])
    with pytest.raises(DataError, match=r"'boxes.f' of 'a' lies on a picture that does not say how it was made"):
        seen(unlike, "boxes.f")


def test_studies_of_several_files_are_cached_by_what_they_hold(tmp_path: Path, cache: Cache) -> None:
    for seed in range(5):
        picture(tmp_path / f"{seed}.png", seed)
    files = [["0.png", "1.png"], ["2.png"], ["4.png", "3.png", "0.png"]]
    manifest = Manifest.of({"id": ["a", "b", "c"], "stack": files}, root=tmp_path)
    prepared = prepare(manifest, [ReadStack(size=16)], cache=cache)
    for index, names in enumerate(files):
        stack = prepared.sample(index).fields["stack"]
        assert isinstance(stack, LazyStack)
        assert torch.equal(stack.take().pixels, torch.stack([alone(tmp_path / name) for name in names]))
    manifest.save(tmp_path / "m.parquet")
    again = Manifest.load(tmp_path / "m.parquet")
    assert again.hash == manifest.hash
    assert [path.name for path in again.paths(2, "stack")] == files[2]
    with pytest.raises(DataError, match="the stack of record 'c' has 3 files: ask for its paths"):
        again.path(2, "stack")
    turned = Manifest.of({"id": ["a"], "stack": [["1.png", "0.png"]]}, root=tmp_path)
    stack = prepare(turned, [ReadStack(size=16)], cache=cache).sample(0).fields["stack"]
    assert isinstance(stack, LazyStack)
    assert torch.equal(stack.take([0]).pixels[0], alone(tmp_path / "1.png"))
    with pytest.raises(DataError, match="leaves the folder"):
        prepare(Manifest.of({"id": ["a"], "stack": [["1.png", "../../x"]]}, root=tmp_path), [ReadStack()], cache=cache)


# stack files ----------------------------------------------------------------------------------------------------------


def test_features_come_back_as_they_were_written_in_the_place_of_channels(tmp_path: Path) -> None:
    features, position = torch.randn(6, 10), torch.randn(6, 3)
    path = tmp_path / "a.safetensors"
    write_stack_file(path, features=features, position=position, meta={"tower": "x"})
    stack = stack_of(str(path), ReadStackFile())
    assert isinstance(stack, FileStack)
    assert (stack.shape, stack.meta) == ((10, 1, 1), {"tower": "x"})
    taken = stack.take([4, 1])
    assert torch.equal(taken.pixels, features[[4, 1]][..., None, None])
    assert torch.equal(taken.position, position[[4, 1]])
    half = tmp_path / "half.safetensors"
    write_stack_file(half, features=features.half(), position=position)
    assert torch.equal(FileStack(half).take().pixels[..., 0, 0], features.half().float())
    pixels = torch.rand(6, 3, 4, 4)
    save_file({"pixels": pixels, "position": position}, path)
    assert torch.equal(FileStack(path).take().pixels, pixels)


@pytest.mark.parametrize("before", [(), (4, 10)])
def test_features_go_through_the_cache_unchanged(tmp_path: Path, cache: Cache, before: tuple[int, ...]) -> None:
    for width in before:  # of other towers: one cache holds the features of all
        write_stack_file(tmp_path / "b.safetensors", features=torch.randn(2, width), position=torch.rand(2, 3))
        other = Manifest.of({"id": ["a", "b"], "stack": ["none.safetensors", "b.safetensors"]}, root=tmp_path)
        assert len(prepare(other, [ReadStackFile()], cache=cache, cap=0.5)) == 1
    features = [torch.randn(depth, 10) for depth in (3, 5)]
    for number, values in enumerate(features):
        write_stack_file(tmp_path / f"{number}.safetensors", features=values, position=torch.rand(len(values), 3))
    manifest = Manifest.of({"id": ["a", "b"], "stack": ["0.safetensors", "1.safetensors"]}, root=tmp_path)
    prepared = prepare(manifest, [ReadStackFile()], cache=cache)
    for index, values in enumerate(features):
        stack = prepared.sample(index).fields["stack"]
        assert isinstance(stack, LazyStack)
        assert torch.equal(stack.take().pixels[..., 0, 0], values)


def test_a_file_that_is_no_stack_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for tensors, told in (
        ({"features": torch.rand(3, 4)}, "it holds features"),
        ({"features": torch.rand(3, 4), "pixels": torch.rand(3, 1, 2, 2), "position": torch.rand(3, 3)}, "it holds"),
        ({"features": torch.rand(3, 4), "position": torch.rand(2, 3)}, r"do not go with positions \(2, 3\)"),
        ({"features": torch.rand(3, 4, 2), "position": torch.rand(3, 3)}, r"features of shape \(3, 4, 2\)"),
    ):
        save_file(tensors, path)
        with pytest.raises(DataError, match=rf"is no stack file \(.*{told}.*write it again with `medvlp embed`"):
            FileStack(path)
    path.write_bytes(b"not a file of tensors")
    with pytest.raises(DataError, match="is no stack file"):
        FileStack(path)
    with pytest.raises(DataError, match=r"does not exist: write it with `medvlp embed`"):
        FileStack(tmp_path / "none.safetensors")
    save_file({"features": torch.full((2, 3), torch.inf), "position": torch.zeros(2, 3)}, path)
    with pytest.raises(DataError, match="its features are not all finite"):
        FileStack(path).take()
    with pytest.raises(DataError, match="cannot be written: it would hold features"):
        write_stack_file(path, features=torch.rand(3, 4), position=torch.rand(2, 3))


def test_what_is_no_path_or_no_stack_field_is_refused() -> None:
    for view in (ReadStack(), ReadStackFile()):
        assert view(Sample("a", {"text": "x"}), torch.Generator()).fields == {"text": "x"}
        with pytest.raises(DataError, match="'stack' of 'a'"):
            view(Sample("a", {"stack": torch.zeros(1)}), torch.Generator())
    for options in ({"field": "image"}, {"size": 4}, {"preset": "none"}):
        with pytest.raises(ConfigError, match="change"):
            ReadStack(**options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="makes a stack field"):
        ReadStackFile(field="image")
