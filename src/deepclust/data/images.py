"""A folder of images of any sizes and modes, made into one array."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from deepclust.data.foreign import foreign, own_words
from deepclust.errors import InvalidDataError, UnreadableFileError

Mode = Literal["auto", "grey", "rgb"]
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
_LARGEST_SIDE = 64  # pixels, where the user names no size: what a network without a GPU can be asked for
_MOST_PIXELS = 100_000_000
_NAMED = 50  # unreadable files that an error names


@dataclass(frozen=True)
class ImageFolder:
    """What was read: images (n, h, w) or (n, h, w, 3) as bytes, their paths, and what could not be read."""

    images: npt.NDArray[np.uint8]
    paths: list[str]
    bad: list[tuple[str, str]]


def read_folder(
    folder: Path,
    *,
    size: tuple[int, int] | None = None,
    mode: Mode = "auto",
    skip_bad: bool = False,
    watch: Callable[[float], None] | None = None,
) -> ImageFolder:
    """Read all images in a folder and the folders below it, in the order of their paths.

    Parameters
    ----------
    folder
        Where they are.
    size
        Height and width to resize to. None keeps a size that all share, up to 64 pixels; otherwise 64 for the longer
        side of the most frequent size.
    mode
        ``"grey"``, ``"rgb"``, or ``"auto"``: grey if every image is.
    skip_bad
        Leave out files that cannot be read; otherwise they are an error that names them.
    watch
        Called with the share that is done.

    Raises
    ------
    UnreadableFileError
        Naming the unreadable files.
    InvalidDataError
        Where there are no images.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise InvalidDataError(f"{folder} has no images ({', '.join(sorted(SUFFIXES))}).")
    facts, bad = _survey(files, folder)
    if bad and not skip_bad:
        shown = "; ".join(f"{name} ({reason})" for name, reason in bad[:_NAMED])
        shown += f"; and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        raise UnreadableFileError(
            f"{len(bad)} of {len(files)} images cannot be read: {shown}. Mend them, or --skip-bad."
        )
    good = [path for path in files if path in facts]
    if not good:
        raise InvalidDataError(f"{folder} has no image that can be read.")
    target = size or _common_size([facts[path][0] for path in good])
    grey = mode == "grey" or (mode == "auto" and all(facts[path][1] for path in good))
    shape = (len(good), *target) if grey else (len(good), *target, 3)
    images = np.empty(shape, dtype=np.uint8)
    for number, path in enumerate(good):
        with foreign(path, "no image that can be brought to bytes"):
            images[number] = _pixels(path, target, grey)
        if watch:
            watch((number + 1) / len(good))
    return ImageFolder(images, [str(path.relative_to(folder)) for path in good], bad)


def _survey(files: list[Path], folder: Path) -> tuple[dict[Path, tuple[tuple[int, int], bool]], list[tuple[str, str]]]:
    """Decode every file once; return size and greyness of the good, names and reasons of the bad."""
    facts: dict[Path, tuple[tuple[int, int], bool]] = {}
    bad: list[tuple[str, str]] = []
    for path in files:
        try:
            with Image.open(path) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise ValueError(f"{image.width}x{image.height} pixels are too many")
                image.load()
                facts[path] = ((image.height, image.width), image.mode in ("1", "L", "LA", "I", "I;16", "F"))
        except Exception as error:  # decoders of broken bytes raise whatever they hit
            bad.append((str(path.relative_to(folder)), own_words(error)))
    return facts, bad


def _common_size(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    (height, width), _ = Counter(sizes).most_common(1)[0]
    scale = min(1.0, _LARGEST_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _pixels(path: Path, target: tuple[int, int], grey: bool) -> npt.NDArray[Any]:
    with Image.open(path) as opened:
        picture: Image.Image = _to_bytes(opened) if opened.mode in ("I", "I;16", "F") else opened
        if picture.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in opened.info:
            picture = _on_white(picture)
        picture = picture.convert("L" if grey else "RGB")
        if picture.size != (target[1], target[0]):
            shrinks = picture.height >= target[0] and picture.width >= target[1]
            rule = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
            picture = picture.resize((target[1], target[0]), rule)
        return np.asarray(picture)


def _on_white(picture: Image.Image) -> Image.Image:
    clear = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)


def _to_bytes(image: Image.Image) -> Image.Image:
    """Bring deep grey levels to bytes: 16-bit ones by their full range, floating ones by their own."""
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it has pixels that are not finite")
    low, high = (0.0, 65535.0) if image.mode != "F" else (float(values.min()), float(values.max()))
    scaled = (values - low) / ((high - low) or 1.0) * 255
    return Image.fromarray(scaled.clip(0, 255).astype(np.uint8))
