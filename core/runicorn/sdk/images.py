"""Image files of a run: what users pass becomes the bytes of a file in `media/`.

Pillow is needed for NumPy arrays only; PIL images bring it along. Files are named `<epoch ms>_<6 hex>_<key>.<format>`.
"""

from __future__ import annotations

import io
import os
import re
import time
from typing import TYPE_CHECKING, Any, cast

from runicorn.errors import BadInput, shown

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

_UNFIT = re.compile(r"[^\w.-]")
_FORMAT = re.compile(r"[a-z0-9]{1,10}")
_MAX_KEY_BYTES = 150  # file systems allow 255 for the whole name
_JPEG_MODES = frozenset({"L", "RGB", "CMYK"})
_CHANNELS = (1, 3, 4)


class InvalidImage(BadInput, ValueError):
    """Something that is no image, or cannot be stored in the given format."""


def image_bytes(image: object, image_format: str, quality: int) -> tuple[bytes, str]:
    """The content of the image file and its suffix.

    `image` is a PIL image, a NumPy array (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels, bytes of an image
    file, or the path of one, which keeps its suffix. Bytes and files are stored as they are. Floats of 0…1, and
    booleans, are stretched to 0…255; everything else is clipped to that. `quality` is for JPEG and WebP.

    InvalidImage, FileNotFoundError (or another OSError) for a file that cannot be read, RuntimeError without Pillow.
    """
    suffix = image_format.lower().removeprefix(".")
    if not _FORMAT.fullmatch(suffix):
        raise InvalidImage(f"Invalid image format: {shown(image_format)!r}")
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image), suffix
    if isinstance(image, (str, os.PathLike)):
        path = os.fspath(cast("str | os.PathLike[str]", image))
        with open(path, "rb") as file:
            content = file.read()
        own = os.path.splitext(path)[1].lower().removeprefix(".")
        return content, own if _FORMAT.fullmatch(own) else suffix
    if hasattr(image, "__array__") and not hasattr(image, "save"):
        image = _image_of_array(image)
    if not hasattr(image, "save") or not hasattr(image, "convert"):
        raise InvalidImage(f"Not an image: {type(image).__name__}")
    return _encoded(cast("Image", image), suffix, quality), suffix


def media_name(key: str, suffix: str) -> str:
    """A new file name for an image logged under `key`."""
    fit = _UNFIT.sub("_", key).encode()[:_MAX_KEY_BYTES].decode("utf-8", "ignore")
    return f"{time.time_ns() // 1_000_000}_{os.urandom(3).hex()}_{fit}.{suffix}"


def _encoded(image: Image, suffix: str, quality: int) -> bytes:
    kind = {"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix)
    if kind == "jpeg" and image.mode not in _JPEG_MODES:
        image = image.convert("RGB")
    options = {"quality": quality} if kind in ("jpeg", "webp") else {}
    buffer = io.BytesIO()  # encoded in memory: an error of the encoder is not one of the storage
    try:
        image.save(buffer, format=kind, **options)
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise InvalidImage(f"The image cannot be stored as {suffix}: {shown(str(error))}") from error
    return buffer.getvalue()


def _image_of_array(array: object) -> Image:
    try:
        from PIL import Image
    except ImportError:
        raise RuntimeError("Pillow is needed to log arrays as images: pip install pillow") from None
    import numpy as np

    return Image.fromarray(_pixels(np.asarray(_on_host(array))))


def _on_host(array: Any) -> Any:
    """A torch tensor without gradient, in main memory; anything else as it is."""
    if hasattr(array, "detach") and hasattr(array, "cpu"):
        return array.detach().cpu()
    return array


def _pixels(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """uint8 pixels of shape (H, W) or (H, W, 3 or 4); 16-bit gray stays as it is."""
    import numpy as np

    if array.ndim == 3 and array.shape[0] in _CHANNELS and array.shape[2] not in _CHANNELS:
        array = np.moveaxis(array, 0, 2)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in _CHANNELS)) or array.size == 0:
        raise InvalidImage(f"Not the shape of an image: {array.shape}")
    if array.dtype == np.uint8 or (array.dtype == np.uint16 and array.ndim == 2):
        return np.ascontiguousarray(array)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind not in "iuf":
        raise InvalidImage(f"Not the values of an image: {array.dtype}")
    if array.dtype.kind == "f":
        values = np.nan_to_num(array.astype(np.float64), nan=0.0, posinf=255.0, neginf=0.0)
        array = values * 255.0 if values.max() <= 1.0 else values
        array = np.rint(array)
    return np.ascontiguousarray(np.clip(array, 0, 255).astype(np.uint8))
