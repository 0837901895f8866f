"""PyTorch's side of bench/run.py, on the CPU.

usage: torch_side.py WORKLOAD train|infer|features|memory [--variant nchw|nhwc|flat][-compiled] [--precision f32|bf16]
                     [--threads 2] [--batch N] [--size 32] [--milliseconds 2000]

The workloads are those of crates/percept/examples/throughput.rs: random images, SGD without momentum, mean softmax
cross-entropy. The networks are Percept's own of the same names, written in PyTorch; images are floats already.
"""

import gc
import json
import pathlib

import torch
import torch.nn.functional as F
from networks import WORKLOADS
from side import CLASSES, parse, serve
from torch._inductor import config as inductor

VARIANTS = ["nchw", "nhwc", "flat", "nchw-compiled", "nhwc-compiled", "flat-compiled"]
STEPS_OF_MEMORY = 3


class Task:
    """A network, and what its step needs."""

    def __init__(self, arguments):
        torch.manual_seed(0)
        self.build, usual = WORKLOADS[arguments.workload]
        self.batch = arguments.batch or usual
        self.layout, _, compiled = arguments.variant.partition("-")
        self.compiled, self.precision = bool(compiled), arguments.precision
        size = arguments.size
        shape = (self.batch, 3 * size * size) if self.layout == "flat" else (self.batch, 3, size, size)
        self.images = self.placed(torch.rand(shape))
        self.labels = torch.randint(0, CLASSES, (self.batch,))

    def placed(self, thing):
        return thing.to(memory_format=torch.channels_last) if self.layout == "nhwc" else thing

    def cast(self):
        return torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16")

    def trainer(self):
        model = self.placed(self.build()).train()
        optimiser = torch.optim.SGD(model.parameters(), lr=0.005, fused=True)

        def loss():
            with self.cast():
                logits = model(self.images)
            return F.cross_entropy(logits.float(), self.labels)

        if self.compiled:
            loss = torch.compile(loss)

        def step():
            optimiser.zero_grad()
            loss().backward()
            optimiser.step()

        return step

    def predictor(self):
        model = self.placed(self.build()).eval()
        if self.compiled:
            # Folds norms and packs weights ahead: the fastest that it offers.
            inductor.freezing = True
            model = torch.compile(model)

        def step():
            with torch.no_grad(), self.cast():
                model(self.images)

        return step


def resident(key):
    """A line of this process's status, in MB."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(key)) * 1.024e-3


def measure_memory(task):
    """What training adds to the resident memory of before, at its peak, in MB. Images were there before. Linux only."""
    gc.collect()
    before, files = resident("VmRSS:"), resident("RssFile:")
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # The peak begins anew: see proc(5).
    step = task.trainer()
    for _ in range(STEPS_OF_MEMORY):
        step()
    code = resident("RssFile:") - files
    print(json.dumps({"megabytes": resident("VmHWM:") - before, "of_files": code, "version": torch.__version__}))


def main():
    arguments = parse(["train", "infer", "features", "memory"], VARIANTS)
    torch.set_num_threads(arguments.threads)
    task = Task(arguments)
    if arguments.mode == "memory":
        return measure_memory(task)
    step = task.trainer() if arguments.mode == "train" else task.predictor()
    serve(step, arguments.milliseconds, batch=task.batch, version=torch.__version__)


main()
