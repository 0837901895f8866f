#!/usr/bin/env python3
"""Photographs decoded and resized to 224x224, images a second: Percept with two threads, torchvision with two processes,
in turns; and how far their pixels are apart.

usage: bench/decoding.py FOLDER [--python VENV/bin/python] [--rounds 5]

FOLDER holds JPEG photographs, at any depth. VENV has torch and torchvision. Writes docs/benchmarks.md.
"""

import argparse
import os
import pathlib
import subprocess
import tempfile

import page
import results
from session import take_turns

PERCEPT = results.program("release/examples/decoding")


def difference(sides):
    """Mean distance of the pixels, in levels."""
    with tempfile.TemporaryDirectory() as folder:
        files = [pathlib.Path(folder) / str(number) for number in range(len(sides))]
        for side, file in zip(sides, files):
            subprocess.run([*side, "--write", str(file)], cwd=results.ROOT, check=True)
        ours, theirs = (file.read_bytes() for file in files)
    if len(ours) != len(theirs):
        raise SystemExit(f"the sides read {len(ours)} and {len(theirs)} bytes: FOLDER may hold other pictures than JPEG")
    return sum(abs(a - b) for a, b in zip(ours, theirs)) / len(ours)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--python", default="python3", help="of the environment that has torchvision")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    folder = str(arguments.folder.resolve())
    python = os.path.abspath(arguments.python) if os.path.dirname(arguments.python) else arguments.python
    build = ["cargo", "build", "--release", "--quiet", "-p", "percept", "--example", "decoding"]
    subprocess.run(build, cwd=results.ROOT, check=True)
    percept, peer = [PERCEPT, folder], [python, "bench/torchvision_side.py", folder]
    load = results.load()
    done, failures = take_turns({"Percept": [*percept, "--ask"], "torchvision": peer}, arguments.rounds, results.ROOT, print)
    entry = {"load": load, "threads": 2, "sides": done, "failures": failures}
    if not failures:
        entry["difference"] = difference([percept, peer])
    results.keep("decoding", entry)
    page.write()


main()
