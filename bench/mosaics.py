"""Makes a set of images that show several classes each, or none, from CIFAR-10: mosaics of 2 x 2 places, of which some hold a
picture and the others grey noise. Labels are the classes of the pictures. The same arguments make the same files.

    python bench/mosaics.py CIFAR10-FOLDER OUT [--train 450] [--test 1000]

CIFAR10-FOLDER holds train/<class>/*.jpg and test/<class>/*.jpg; pictures of training mosaics come from the one, those of
test mosaics from the other. OUT gets pictures and labels.csv, with the columns file_name, labels and split.
"""

import argparse
import csv
import pathlib
import random

from PIL import Image

SIDE = 32


def noise(draw):
    """A place that holds no picture."""
    level = draw.randint(60, 190)
    return Image.frombytes("L", (SIDE, SIDE), bytes(level + draw.randint(-25, 25) for _ in range(SIDE * SIDE))).convert("RGB")


def mosaic(files, draw):
    """A mosaic of none to four pictures, and their classes."""
    count = draw.choice([0, 1, 1, 2, 2, 2, 3, 3, 4])
    chosen = draw.sample(files, count)
    places = draw.sample([(0, 0), (0, SIDE), (SIDE, 0), (SIDE, SIDE)], 4)
    whole = Image.new("RGB", (2 * SIDE, 2 * SIDE))
    for place, file in zip(places, chosen + [None] * (4 - count)):
        whole.paste(Image.open(file).convert("RGB").resize((SIDE, SIDE)) if file else noise(draw), place)
    return whole, sorted({file.parent.name for file in chosen})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar10", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--train", type=int, default=450)
    parser.add_argument("--test", type=int, default=1000)
    arguments = parser.parse_args()
    rows = []
    for split, count in [("train", arguments.train), ("test", arguments.test)]:
        draw = random.Random(f"mosaics {split}")
        files = sorted((arguments.cifar10 / split).glob("*/*.jpg"))
        if not files:
            parser.error(f"{arguments.cifar10 / split} holds no <class>/*.jpg")
        (arguments.out / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            whole, classes = mosaic(files, draw)
            name = f"{split}/{number:05}.png"
            whole.save(arguments.out / name)
            rows.append([name, "|".join(classes), split])
    with open(arguments.out / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([["file_name", "labels", "split"], *rows])


if __name__ == "__main__":
    main()
