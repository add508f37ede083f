"""Make Food-11.zip: labelled images in the shape of Food-11, flat files ``{class}_{n}.jpg`` in three splits.

The images are scikit-learn's 1,797 handwritten digits, enlarged and written as JPEG. With ``--synthetic N`` they are N
seeded JPEGs in 11 classes with Food-11's sizes (72 KB on average) instead: for measurements of speed.

    python examples/food11/make_archive.py Food-11.zip
    python examples/food11/make_archive.py Food-11.zip --synthetic 2000
"""

from __future__ import annotations

import argparse
import io
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path

SPLITS = (("training", 0.6), ("validation", 0.2), ("evaluation", 0.2))
"""Food-11's splits: 9,866, 3,430 and 3,347 of 16,643 images."""
CLASSES = 11
DIGIT_SIDE = 96
"""Pixels: the 8 by 8 digits enlarged twelvefold."""
MEAN_BYTES = 72_000
SIGMA = 0.45
"""Spread of the sizes' logarithm: from about 20 KB to 250 KB, as photographs are."""
BYTES_PER_PIXEL = 0.737
"""What JPEG of quality 92 needs for half-strength noise, with the sizes' mean above their median taken in."""
TOP_FOLDER = "Food-11"


def digits() -> Iterator[tuple[int, bytes]]:
    """Class and JPEG of every handwritten digit."""
    from PIL import Image
    from sklearn.datasets import load_digits

    data = load_digits()
    for pixels, label in zip(data.images, data.target, strict=True):
        image = Image.fromarray((pixels * 255 / 16).astype("uint8")).resize((DIGIT_SIDE, DIGIT_SIDE))
        yield int(label), _jpeg(image)


def synthetic(count: int, seed: int) -> Iterator[tuple[int, bytes]]:
    """Class and JPEG of ``count`` images whose hue tells the class and whose noise makes the size."""
    from PIL import Image

    draw = random.Random(seed)
    for number in range(count):
        label = number % CLASSES
        hue = bytes([label * 255 // CLASSES, 160, 200])
        target = int(min(max(draw.lognormvariate(0, SIGMA), 0.25), 4) * MEAN_BYTES)
        side = int((target / BYTES_PER_PIXEL) ** 0.5)
        noise = Image.frombytes("L", (side, side), draw.randbytes(side * side))
        tint = Image.new("HSV", (side, side), tuple(hue)).convert("RGB")
        image = Image.blend(tint, Image.merge("RGB", (noise, noise, noise)), 0.5)
        yield label, _jpeg(image, quality=92)


def _jpeg(image: object, quality: int = 90) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)  # type: ignore[attr-defined]
    return stream.getvalue()


def make_archive(path: Path, images: Iterator[tuple[int, bytes]], seed: int = 11) -> tuple[int, int]:
    """Write the archive; returns the number of images and their bytes."""
    draw = random.Random(seed)
    names, shares = zip(*SPLITS, strict=True)
    numbers: dict[tuple[str, int], int] = {}
    count = size = 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for label, content in images:
            split = draw.choices(names, shares)[0]
            number = numbers.get((split, label), 0)
            numbers[split, label] = number + 1
            archive.writestr(f"{TOP_FOLDER}/{split}/{label}_{number}.jpg", content)
            count += 1
            size += len(content)
    return count, size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--synthetic", type=int, metavar="N", help="N images of Food-11's size instead of the digits")
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    images = synthetic(options.synthetic, options.seed) if options.synthetic else digits()
    count, size = make_archive(options.archive, images, options.seed)
    print(f"{options.archive}: {count:,} images, {size:,} bytes")


if __name__ == "__main__":
    main()
