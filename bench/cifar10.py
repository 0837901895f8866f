#!/usr/bin/env python3
"""Whole trainings on CIFAR-10 by the wall clock, from the start of the process to its end: accuracy within a time.

usage: bench/cifar10.py FOLDER --within 12.42 [--seeds 0 1 2] [--warm] -- FLAGS OF percept train
       bench/cifar10.py FOLDER --within 1140 --peer VENV/bin/python [--seeds 0] -- FLAGS OF airbench94.py

FOLDER holds train/<class>/*.jpg and test/<class>/*.jpg. `--within` is the bar's time; the training's own (`--time 11s`)
is among the flags and has to leave some for reading, measuring and the report. Every training decodes all images anew,
as if it were the first; with --warm the cache is there already. What was measured goes into bench/results and the page.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import page
import results
from workloads import key_of_cifar10


def words_of(arguments, flags, out):
    """The command of one training."""
    if arguments.peer:
        return [arguments.peer, "bench/airbench94.py", str(arguments.folder), *flags]
    return [results.program("release/percept"), "train", str(arguments.folder), *flags, "--out", out, "--json"]


def run(command, cache):
    """Test accuracy and wall clock of one training."""
    environment = {**os.environ, "PERCEPT_CACHE": cache}
    begin = time.perf_counter()
    done = subprocess.run(command, check=False, cwd=results.ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - begin
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with code {done.returncode}")
    # Percept prints one object, over several lines; the peer's script a line for each.
    whole = done.stdout.strip()
    answer = json.loads(whole if whole.endswith("\n}") else whole.splitlines()[-1])
    top1 = answer["test"]["top1"] if "test" in answer else answer["top1"]
    views = {key: answer[key] for key in ("top1_without_views", "precision") if key in answer}
    return {"top1": top1, "seconds": seconds, "steps": answer["steps"], **views}


def run_seeds(arguments):
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        if arguments.warm and not arguments.peer:
            print("filling the cache", flush=True)
            run(words_of(arguments, ["--model", "softmax", "--steps", "1"], f"{folder}/fill"), folder)
        for seed in arguments.seeds:
            cache = folder if arguments.warm else f"{folder}/cache-{seed}"
            command = words_of(arguments, [*arguments.flags, "--seed", str(seed)], f"{folder}/run-{seed}")
            runs.append({"seed": seed, **run(command, cache)})
            print(f"seed {seed}: {100 * runs[-1]['top1']:.2f} % in {runs[-1]['seconds']:.2f} s", flush=True)
    return runs


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--within", type=float, required=True, help="seconds, from the start of the process")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--warm", action="store_true", help="with the decoded images cached already")
    parser.add_argument("--peer", help="the Python to run airbench94.py with, instead of percept")
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    arguments = parser.parse_args(sys.argv[1:end], argparse.Namespace(flags=sys.argv[end + 1 :]))
    arguments.folder = arguments.folder.resolve()
    if os.path.dirname(arguments.peer or ""):
        arguments.peer = os.path.abspath(arguments.peer)
    return arguments


def main():
    arguments = parse()
    if not arguments.peer:
        build = ["cargo", "build", "--release", "--quiet", "-p", "percept-cli"]
        subprocess.run(build, cwd=results.ROOT, check=True)
    load, runs = results.load(), run_seeds(arguments)
    name = "airbench94.py" if arguments.peer else "percept train"
    command = " ".join([name, "cifar10", *arguments.flags]) + (" (cached)" if arguments.warm else "")
    accuracies, walls = [100 * run["top1"] for run in runs], [run["seconds"] for run in runs]
    print(f"mean test accuracy {statistics.mean(accuracies):.2f} %, wall clock {min(walls):.2f} to {max(walls):.2f} s")
    entry = {"within": arguments.within, "peer": bool(arguments.peer), "command": command, "load": load, "runs": runs}
    results.keep(key_of_cifar10(entry), entry)
    page.write()


main()
