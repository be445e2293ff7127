from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runicorn.errors import BadInput
from runicorn.sdk.images import media_name
from runicorn.sdk.run import Run
from tests.core.sdk.run_files import data_of, run_python


def stored(run: Run, path: str) -> Image.Image:
    image = Image.open(io.BytesIO((run.run_dir / path).read_bytes()))
    image.load()
    return image


def test_a_pil_image_is_stored_and_told_to_the_log(run: Run):
    path = run.log_image("prediction", Image.new("RGBA", (4, 3), "red"), step=10, caption="é")
    assert re.fullmatch(r"media/\d{13}_[0-9a-f]{6}_prediction\.png", path)
    assert stored(run, path).size == (4, 3)
    assert stored(run, path).mode == "RGBA"
    assert data_of(run.run_dir, "image") == [{"key": "prediction", "path": path, "step": 10, "caption": "é"}]


def test_step_and_caption_may_be_missing(run: Run):
    path = run.log_image("i", b"x")
    assert data_of(run.run_dir, "image") == [{"key": "i", "path": path, "step": None, "caption": None}]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "1", "L", "RGB", "CMYK", "I;16"])
@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "JPG", ".jpg"])
def test_jpg_means_jpeg_whatever_the_mode(run: Run, mode: str, suffix: str):
    path = run.log_image("i", Image.new(mode, (4, 4)), format=suffix, quality=50)
    assert stored(run, path).format == "JPEG"
    assert path.endswith(".jpeg" if suffix == "jpeg" else ".jpg")


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[0, 255]], np.uint8), [[0, 255]]),
        (np.array([[0, 300, -5]]), [[0, 255, 0]]),
        (np.array([[0.0, 0.5, 1.0]]), [[0, 128, 255]]),
        (np.array([[0.0, 128.4, 999.0]], np.float32), [[0, 128, 255]]),
        (np.array([[np.nan, np.inf, -np.inf, 200.0]]), [[0, 255, 0, 200]]),
        (np.array([[True, False]]), [[255, 0]]),
        (np.zeros((2, 3, 1), np.uint8), [[0] * 3] * 2),
        (np.zeros((2, 3, 3)), [[[0] * 3] * 3] * 2),
        (np.zeros((2, 3, 4)), [[[0] * 4] * 3] * 2),
        (np.zeros((3, 8, 6)), [[[0] * 3] * 6] * 8),
        (np.zeros((1, 8, 6)), [[0] * 6] * 8),
        (np.array([[0, 65535]], np.uint16), [[0, 65535]]),
    ],
    ids=lambda value: str(getattr(value, "shape", "")),
)
def test_arrays_become_pixels(run: Run, array, expected):
    assert np.asarray(stored(run, run.log_image("i", array))).tolist() == expected


@pytest.mark.parametrize(
    "image",
    [np.zeros(3), np.zeros((2, 2, 2)), np.zeros((0, 4)), np.zeros((2, 2), complex), np.array([["a"]]), 5, None, [1]],
    ids=str,
)
def test_what_is_no_image_is_refused(run: Run, image):
    with pytest.raises(ValueError, match="image") as error:
        run.log_image("i", image)
    assert isinstance(error.value, BadInput)
    assert list(run.media_dir.iterdir()) == []


@pytest.mark.parametrize("suffix", ["../x", "", "nonsense", "a/b", "x" * 20])
def test_an_impossible_format_is_refused(run: Run, suffix: str):
    with pytest.raises(ValueError, match="image"):
        run.log_image("i", Image.new("L", (1, 1)), format=suffix)
    assert list(run.media_dir.iterdir()) == []


@pytest.mark.parametrize("content", [b"raw", bytearray(b"raw"), memoryview(b"raw")])
def test_bytes_are_stored_as_they_are(run: Run, content):
    path = run.log_image("i", content, format="webp")
    assert path.endswith(".webp")
    assert (run.run_dir / path).read_bytes() == b"raw"


def test_a_file_is_copied_and_keeps_its_suffix(run: Run, tmp_path: Path):
    (tmp_path / "figure.JPEG").write_bytes(b"content")
    for given in (tmp_path / "figure.JPEG", str(tmp_path / "figure.JPEG")):
        path = run.log_image("i", given)
        assert path.endswith(".jpeg")
        assert (run.run_dir / path).read_bytes() == b"content"
    (tmp_path / "figure").write_bytes(b"content")
    assert run.log_image("i", tmp_path / "figure", format="gif").endswith(".gif")


def test_a_missing_file_is_an_error(run: Run, tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        run.log_image("i", tmp_path / "nothing.png")
    assert data_of(run.run_dir, "image") == []


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("val/pred 1", "val_pred_1"),
        ("../../etc", ".._.._etc"),
        ("图像", "图像"),
        ("a\x00\n\udc00", "a___"),
        ("", ""),
        ("x" * 500, "x" * 150),
        ("é" * 200, "é" * 75),
    ],
)
def test_what_is_unfit_for_a_file_name_becomes_an_underscore_and_the_event_keeps_the_key(run: Run, key: str, part: str):
    path = run.log_image(key, b"x")
    assert path.endswith(f"_{part}.png")
    assert (run.run_dir / path).parent == run.media_dir
    assert (run.run_dir / path).is_file()
    assert data_of(run.run_dir, "image")[0]["key"] == key.replace("\udc00", "\ufffd")


def test_names_are_unique():
    assert len({media_name("i", "png") for _ in range(100)}) == 100


def test_a_removed_media_directory_is_made_again(run: Run):
    run.media_dir.rmdir()
    assert (run.run_dir / run.log_image("i", b"x")).read_bytes() == b"x"


def test_arrays_need_pillow_and_nothing_else_does(root: Path):
    code = """
import sys
sys.modules["PIL"] = None
import numpy as np
import runicorn as rn
rn.init("p", sys.argv[1], capture_env=False)
rn.log_image("i", b"x")
try:
    rn.log_image("i", np.zeros((2, 2)))
except RuntimeError as error:
    print(error)
"""
    done = run_python(code, root)
    assert done.stdout.startswith("Pillow is needed"), done.stderr
    assert sys.modules["PIL"] is not None
