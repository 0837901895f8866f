#!/usr/bin/env python3
"""Runs Percept and its peers on the same workloads, in turns, and writes docs/benchmarks.md.

usage: bench/run.py [--python VENV/bin/python] [--part train infer features memory growth] [--only WORKLOAD] [--rounds 3]

Peers, each of them optional (what is missing is named in the page):
  python3 -m venv VENV && VENV/bin/pip install -r bench/requirements.txt    PyTorch, ONNX Runtime, OpenVINO
  a C++ compiler                                                            torch.compile
  cargo, which builds bench/burn, a workspace of its own                    Burn

Nothing else should run meanwhile: how busy the machine was before each session stands in the page. All parts take less
than 25 minutes on two cores. A part or a workload may be measured again alone: what was measured is kept in
bench/results, and the page is made from that (`--part page` makes it and measures nothing). Whole trainings on CIFAR-10
are measured by bench/cifar10.py.
"""

import argparse
import os
import subprocess
import time

import page
import results
from session import Failed, attempt, run_once, take_turns
from workloads import FEATURES, GROWTH, INFERENCE, MEMORY, TRAINING, key_of

ROOT = results.ROOT
PERCEPT = results.program("release/examples/throughput")
PEAK = results.program("release/examples/measure")
BURN = results.program("bench-burn/release/burn-side")
BEGIN = time.monotonic()


def say(text):
    print(f"{time.monotonic() - BEGIN:6.0f} s  {text}", flush=True)


def build(arguments):
    """Percept's programs have to build; Burn's may fail, which its first session then reports."""
    cargo = ["cargo", "build", "--release", "--quiet"]
    for package, example in (("percept", "throughput"), ("percept-kernels", "measure")):
        say(f"building {example}")
        subprocess.run([*cargo, "-p", package, "--example", example], cwd=ROOT, check=True)
    if {"train", "infer"} & set(arguments.part) and not arguments.without_burn:
        say("building Burn's side (some minutes the first time)")
        folder = str(results.TARGET / "bench-burn")
        subprocess.run([*cargo, "--locked", "--target-dir", folder], cwd=ROOT / "bench/burn", check=False)


def peers(work, arguments):
    """The commands of the other sides, by name."""
    python, burn = arguments.python, not arguments.without_burn
    torch = [python, "bench/torch_side.py", work.name, work.mode, "--precision", work.precision, "--variant"]
    layouts = ["nchw", "nhwc"] if work.has_images else ["flat"]
    if work.precision == "bf16":
        layouts = ["nhwc"]
    sides = {f"PyTorch, {layout}": [*torch, layout] for layout in layouts}
    # On images the compiled network is fastest channels-last.
    sides[f"torch.compile, {layouts[-1]}"] = [*torch, f"{layouts[-1]}-compiled"]
    if work.mode in ("infer", "features"):
        onnx = [python, "bench/onnx_side.py", work.name, work.mode, "--variant"]
        sides["ONNX Runtime"] = [*onnx, "onnxruntime"]
        sides["OpenVINO, latency"] = [*onnx, "openvino-latency"]
        if work.batch > 1:
            sides["OpenVINO, throughput"] = [*onnx, "openvino-throughput"]
    if work.precision == "f32" and burn and work.mode != "features":
        sides["Burn"] = [BURN, work.name, work.mode]
    return sides


def percept(work, threads, *more):
    command = [PERCEPT, work.name, work.mode, "--threads", str(threads), *more, "--ask"]
    return command + (["--precision", work.precision] if work.precision != "f32" else [])


def measure_speed(work, arguments):
    """One session of all sides."""
    common = ["--threads", str(arguments.threads), "--batch", str(work.batch)]
    common += ["--size", str(work.side), "--milliseconds", str(arguments.milliseconds)]
    sides = {"Percept": percept(work, arguments.threads, *common[2:])}
    sides |= {name: command + common for name, command in peers(work, arguments).items()}
    entry = {"load": results.load(), "threads": arguments.threads}
    before = peak(arguments.threads)
    done, failures = take_turns(sides, arguments.rounds, ROOT, say)
    entry |= {"sides": done, "failures": failures, "peak": max(before, peak(arguments.threads))}
    results.keep(key_of(work), entry)


def peak(threads):
    """GFLOP/s of multiply-adds in registers on so many threads: the best of a few, since threads that have just begun
    may share a core for a moment."""
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}

    def once():
        done = subprocess.run([PEAK, "peak"], capture_output=True, text=True, env=environment, check=True)
        return float(next(line for line in done.stdout.splitlines() if line.startswith("peak:")).split()[1])

    return max(once() for _ in range(5))


def measure_memory(work, arguments):
    """A fresh process for each figure."""
    common = ["--threads", str(arguments.threads), "--precision", work.precision]
    sides = {"Percept": [PERCEPT, work.name, "memory", *common]}
    for layout in ["nchw", "nhwc"] if work.has_images else ["flat"]:
        torch = [arguments.python, "bench/torch_side.py", work.name, "memory", "--variant", layout]
        sides[f"PyTorch, {layout}"] = torch + common
    done, failures = {}, {}
    for number in range(arguments.rounds):
        say(f"  round {number + 1} of {arguments.rounds}")
        for name, command in sides.items():
            found = name not in failures and attempt(name, failures, say, lambda c=command: run_once(c, ROOT))
            if found:
                done.setdefault(name, []).append(found)
    done = {name: {**turns[0], "turns": turns} for name, turns in done.items() if name not in failures}
    entry = {"load": results.load(), "threads": arguments.threads, "sides": done, "failures": failures}
    results.keep(key_of(work), entry)


def measure_growth(growth, arguments):
    """One session of Percept alone, at each of several sizes."""
    by_threads = growth.flag == "--threads"
    sides, threads = {}, {}
    for size in map(str, growth.values(arguments.threads)):
        threads[size] = int(size) if by_threads else arguments.threads
        more = [] if by_threads else [growth.flag, size]
        sides[size] = percept(growth, threads[size], *more, "--milliseconds", str(arguments.milliseconds))
    entry = {"load": results.load(), "threads": arguments.threads}
    before = {count: peak(count) for count in threads.values()}
    done, failures = take_turns(sides, arguments.rounds, ROOT, say)
    peaks = {count: max(before[count], peak(count)) for count in before}
    entry |= {"sides": done, "failures": failures, "peaks": {size: peaks[threads[size]] for size in sides}}
    results.keep(key_of(growth), entry)


PARTS = {
    "train": (TRAINING, measure_speed),
    "infer": (INFERENCE, measure_speed),
    "features": (FEATURES, measure_speed),
    "memory": (MEMORY, measure_memory),
    "growth": (GROWTH, measure_growth),
}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default="python3", help="of the environment that has the peers")
    parser.add_argument("--part", nargs="+", choices=[*PARTS, "page"], default=list(PARTS))
    parser.add_argument("--only", nargs="+", help="workloads: softmax, mlp, cnn6, resnet18, efficientnet_lite0")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--milliseconds", type=int, default=1000, help="length of one turn")
    parser.add_argument("--without-burn", action="store_true", help="spares building it")
    arguments = parser.parse_args()
    if os.path.dirname(arguments.python):
        arguments.python = os.path.abspath(arguments.python)
    return arguments


def main():
    arguments = parse()
    page.write()  # Finds lost marks before time is spent.
    bf16 = results.has_bf16(results.processor()[1])
    if arguments.part != ["page"]:
        build(arguments)
    for part in (part for part in PARTS if part in arguments.part):
        works, measure = PARTS[part]
        for work in works:
            if (arguments.only and work.name not in arguments.only) or (work.precision == "bf16" and not bf16):
                continue
            say(key_of(work))
            try:
                measure(work, arguments)
            except (Failed, OSError, subprocess.SubprocessError) as error:
                say(f"  {key_of(work)} failed: {error}")
            page.write()  # Now, so that stopping loses nothing.
    say("wrote docs/benchmarks.md")


main()
