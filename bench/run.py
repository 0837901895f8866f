#!/usr/bin/env python3
"""Runs Percept and its peers on the same workloads, in turns, and writes docs/benchmarks.md.

usage: bench/run.py [--rounds 5] [--threads 2] [--only WORKLOAD] [--python PYTHON_WITH_TORCH]

Each round runs every side once, one after the other, so that a machine that slows down slows all of them; figures are
medians over rounds. PyTorch: `python3 -m venv V && V/bin/pip install torch numpy`, then `--python V/bin/python`.
Nothing else should run meanwhile: the load before each workload stands in the table.
"""
import argparse, datetime, json, os, pathlib, platform, statistics, subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORKLOADS = [
    ("softmax", "train", 3.0), ("mlp", "train", 1.3), ("cnn6", "train", 1.5), ("cnn6", "infer", None),
    ("resnet18", "train", None), ("resnet18", "infer", None),
]


def run(command):
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return json.loads(output.strip().splitlines()[-1])


def processor():
    """The processor as Linux names it; elsewhere, as Python does."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    facts = dict([part.strip() for part in line.split(":", 1)] for line in lines if ":" in line)
    return f"{facts.get('model name')}, family {facts.get('cpu family')} model {facts.get('model')}"


def measure(arguments, sides):
    rows = []
    for name, mode, goal in WORKLOADS:
        if arguments.only and name != arguments.only:
            continue
        load, rates = os.getloadavg()[0], {side: [] for side in sides}
        for _ in range(arguments.rounds):
            for side, command in sides.items():
                rates[side].append(run(command(name, mode))["images_per_second"])
        rows.append((name, mode, goal, load, rates))
        print(name, mode, {side: statistics.median(all) for side, all in rates.items()}, flush=True)
    return rows


def table(rows, sides):
    peers = [side for side in sides if side != "Percept"]
    lines = ["| workload | Percept | " + " | ".join(peers) + " | ratio | spread of the ratio | wanted | load |",
             "|---|---|" + "---|" * len(peers) + "---|---|---|---|"]
    for name, mode, goal, load, rates in rows:
        middle = {side: statistics.median(values) for side, values in rates.items()}
        best = max(peers, key=lambda side: middle[side])
        ratios = sorted(ours / theirs for ours, theirs in zip(rates["Percept"], rates[best]))
        cells = [f"{name}, {mode}", f"{middle['Percept']:,.0f}"] + [f"{middle[side]:,.0f}" for side in peers]
        cells += [f"**{middle['Percept'] / middle[best]:.2f}**", f"{ratios[0]:.2f} to {ratios[-1]:.2f}"]
        cells += [f"{goal:g}" if goal else "", f"{load:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only")
    parser.add_argument("--python", default="python3")
    arguments = parser.parse_args()
    subprocess.run(["cargo", "build", "--release", "-p", "percept", "--example", "throughput"], cwd=ROOT, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    threads, ours = str(arguments.threads), str(target / "release/examples/throughput")
    sides = {
        "Percept": lambda name, mode: [ours, name, mode, threads],
        "PyTorch": lambda name, mode: [arguments.python, "bench/torch_side.py", name, mode, "--threads", threads],
    }
    rows = measure(arguments, sides)
    isa = run(sides["Percept"]("softmax", "infer"))["isa"]
    version = run([arguments.python, "-c", "import json, torch; print(json.dumps(torch.__version__))"])
    text = (ROOT / "docs/benchmarks.md").read_text() if (ROOT / "docs/benchmarks.md").exists() else "<!-- figures -->\n"
    figures = [
        f"{datetime.date.today()}, {processor()}, {os.cpu_count()} cores, {arguments.threads} threads, {isa}; Percept "
        f"f32, PyTorch {version} f32 (the faster of its layouts), Python {platform.python_version()}. Images a second, "
        f"medians of {arguments.rounds} rounds, sides in turns; the ratio is to the fastest peer.", "",
    ] + table(rows, sides) + [""]
    head, _, tail = text.partition("<!-- figures -->\n")
    _, end, after = tail.partition("<!-- end of figures -->\n")
    new = head + "<!-- figures -->\n" + "\n".join(figures) + "<!-- end of figures -->\n" + after
    (ROOT / "docs/benchmarks.md").write_text(new)
    print("\n".join(figures))


main()
