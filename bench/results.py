"""What was measured, kept in bench/results: a file for each kind of machine, an entry for each session.

An entry holds all sides of one session, so that no ratio ever crosses two. Measuring again replaces the entry.
"""

import datetime
import json
import os
import pathlib
import platform
import re
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "bench" / "results"
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()


def program(path):
    """A program that cargo built, by its path in the target folder."""
    return str(TARGET / f"{path}{'.exe' if os.name == 'nt' else ''}")


def processor():
    """The processor's name and features as Linux gives them; elsewhere, what Python knows."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine(), set()
    facts = dict([part.strip() for part in line.split(":", 1)] for line in lines if ":" in line)
    name = facts.get("model name", platform.machine())
    family = f", family {facts['cpu family']} model {facts['model']}" if "cpu family" in facts else ""
    return name + family, set(facts.get("flags", "").split())


def has_bf16(features):
    return bool(features & {"avx512_bf16", "amx_bf16"})


def describe_machine():
    name, features = processor()
    wanted = ["avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16"]
    return {
        "processor": name,
        "features": [feature for feature in wanted if feature in features],
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
    }


def path_of(machine):
    slug = re.sub("[^a-z0-9]+", "-", f"{machine['processor']} {machine['cores']} cores".lower()).strip("-")
    return FOLDER / f"{slug}.json"


def read_all():
    """Every machine's results, the last measured first."""
    all_results = [json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json"))]
    return sorted(all_results, key=lambda results: max(entry["date"] for entry in results["entries"].values()))[::-1]


def keep(key, entry):
    """Puts an entry into this machine's file, with the date, the load and the version of Percept."""
    machine = describe_machine()
    file = path_of(machine)
    results = json.loads(file.read_text()) if file.exists() else {"entries": {}}
    stamp = {"date": datetime.date.today().isoformat(), "percept": version()}
    results = {"machine": machine, "entries": {**results["entries"], key: {**stamp, **rounded(entry)}}}
    FOLDER.mkdir(exist_ok=True)
    new = file.with_suffix(".tmp")
    new.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    new.replace(file)


def version():
    """The commit that is measured, with a plus where its sources have changed since."""

    def git(*words):
        return subprocess.run(["git", *words], check=False, cwd=ROOT, capture_output=True, text=True).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--", "crates") else "")


def load():
    """Cores that others keep busy, over a second in which nothing of ours runs; none where Linux does not tell."""
    try:
        before = processor_time()
        time.sleep(1)
        after = processor_time()
    except OSError:
        return None
    total, idle = (now - then for now, then in zip(after, before))
    return round(os.cpu_count() * (1 - idle / max(total, 1)), 2)


def processor_time():
    """All time of all cores so far, and what of it was idle, waiting for disks included."""
    times = [int(number) for number in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(times), times[3] + times[4]


def rounded(value):
    """Five digits are more than a measurement has."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value
