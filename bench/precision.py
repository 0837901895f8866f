#!/usr/bin/env python3
"""Accuracy of training in bf16 beside f32: the same short trainings with several seeds each, in turns.

    bench/precision.py DATA [--program target/release/percept] [--seeds 3] [-- --model cnn --epochs 1 ...]

What follows `--` goes to `percept train`. Prints each training's test accuracy, then mean and standard deviation of both
sides, and the difference of the means with its standard error: bf16 is within the noise where the difference is below
about two of those.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile


def train(program, data, precision, seed, more):
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "train", data, "--precision", precision, "--seed", str(seed), "--out", f"{folder}/run"]
        done = subprocess.run([*command, "--json", *more], check=True, stdout=subprocess.PIPE, text=True)
        figures = json.loads(done.stdout)
        return 100 * (figures.get("test") or figures["validation"])["top1"]


def main():
    given = sys.argv[1:]
    place = given.index("--") if "--" in given else len(given)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--program", default="target/release/percept")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args(given[:place])
    top1 = {"f32": [], "bf16": []}
    for seed in range(arguments.seeds):
        for precision, found in top1.items():
            found.append(train(arguments.program, arguments.data, precision, seed, given[place + 1 :]))
            print(f"seed {seed} {precision:>4}: {found[-1]:.2f} %", flush=True)
    spread = {precision: statistics.stdev(found) if len(found) > 1 else 0.0 for precision, found in top1.items()}
    for precision, found in top1.items():
        print(f"{precision:>4}: mean {statistics.mean(found):.2f} %, standard deviation {spread[precision]:.2f}")
    difference = statistics.mean(top1["bf16"]) - statistics.mean(top1["f32"])
    error = (sum(deviation**2 for deviation in spread.values()) / arguments.seeds) ** 0.5
    print(f"bf16 - f32: {difference:+.2f} points, standard error {error:.2f}")


if __name__ == "__main__":
    main()
