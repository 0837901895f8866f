"""torchvision's side of bench/decoding.py: decode_jpeg and v2's Resize with antialias, in processes of one thread each.

usage: torchvision_side.py FOLDER [--processes 2] [--milliseconds 2000] [--write FILE]

Takes turns as side.py says; a step is all files once. Files are in memory before; `--write` writes the pixels instead.
"""

import argparse
import multiprocessing
import pathlib

import torch
import torchvision
from side import serve
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import v2

SIDE = 224
RESIZE = v2.Resize((SIDE, SIDE), antialias=True)
FILES = []


def read(folder):
    paths = sorted(path for path in pathlib.Path(folder).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    FILES.extend(torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8) for path in paths)


def prepare(place):
    return RESIZE(decode_jpeg(FILES[place], mode=ImageReadMode.RGB))


def work(places):
    torch.set_num_threads(1)
    for place in places:
        prepare(place)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--milliseconds", type=int, default=2000)
    parser.add_argument("--write")
    arguments = parser.parse_args()
    read(arguments.folder)
    if arguments.write:
        with open(arguments.write, "wb") as file:
            for place in range(len(FILES)):
                file.write(prepare(place).permute(1, 2, 0).contiguous().numpy().tobytes())
        return
    # Forked, so that the files are there already; parts small enough that both end at about the same time.
    with multiprocessing.get_context("fork").Pool(arguments.processes) as pool:
        parts = [range(start, min(start + 8, len(FILES))) for start in range(0, len(FILES), 8)]

        def step():
            pool.map(work, parts, chunksize=1)

        serve(step, arguments.milliseconds, batch=len(FILES), version=torchvision.__version__)


main()
