#!/usr/bin/env python3
"""Folders with 100 training images of each class and all test images: data that a pretrained backbone is made for.

usage: bench/few_images.py cifar10 FOLDER OUT          FOLDER holds {train,test}/<class>/*.jpg
       bench/few_images.py unseen FOLDER OUT           the same FOLDER: OUT/0, 1 and 2 hold `known`, 7 classes drawn of
                                                       CIFAR-10's, and `unseen`, the test images of the other 3
       bench/few_images.py fashion-mnist FOLDER OUT    FOLDER holds the four IDX files, packed or not

Which training images those are is fixed by the lists in bench/few. Pictures of CIFAR-10 are linked, those of
Fashion-MNIST are written as PNG files.
"""

import gzip
import pathlib
import random
import shutil
import struct
import sys
import zlib

LISTS = pathlib.Path(__file__).resolve().parent / "few"
FASHION = "t-shirt trouser pullover dress coat sandal shirt sneaker bag ankle-boot".split()


def cifar10(folder, out):
    for line in (LISTS / "cifar10.txt").read_text().split():
        link(folder / "train" / line, out / "train" / line)
    for picture in sorted(folder.glob("test/*/*.jpg")):
        link(picture, out / picture.relative_to(folder))


def unseen(folder, out):
    classes = sorted(path.name for path in (folder / "test").iterdir() if path.is_dir())
    for draw in range(3):
        left_out = random.Random(draw).sample(classes, 3)
        for line in (LISTS / "cifar10.txt").read_text().split():
            if line.partition("/")[0] not in left_out:
                link(folder / "train" / line, out / str(draw) / "known" / "train" / line)
        for picture in sorted(folder.glob("test/*/*.jpg")):
            place = "unseen" if picture.parent.name in left_out else "known/test"
            link(picture, out / str(draw) / place / picture.parent.name / picture.name)
        print(f"{draw}: {', '.join(left_out)} are unseen")


def link(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def fashion_mnist(folder, out):
    chosen = {int(line) for line in (LISTS / "fashion-mnist.txt").read_text().split()}
    for split, name in [("train", "train"), ("test", "t10k")]:
        images, labels = read(folder, f"{name}-images-idx3-ubyte")[16:], read(folder, f"{name}-labels-idx1-ubyte")[8:]
        for index, label in enumerate(labels):
            if split == "test" or index in chosen:
                target = out / split / FASHION[label] / f"{index:05}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(png(images[784 * index : 784 * (index + 1)], 28))


def read(folder, name):
    packed = folder / f"{name}.gz"
    return gzip.decompress(packed.read_bytes()) if packed.exists() else (folder / name).read_bytes()


def png(pixels, side):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + pixels[side * row : side * (row + 1)] for row in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def main():
    makers = {"cifar10": cifar10, "unseen": unseen, "fashion-mnist": fashion_mnist}
    if len(sys.argv) != 4 or sys.argv[1] not in makers:
        raise SystemExit(__doc__)
    makers[sys.argv[1]](pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))


main()
