"""What is measured, and the bars that Percept has set itself."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """One workload; `bar` is the ratio to reach against the fastest of `against`."""

    name: str
    mode: str
    batch: int
    precision: str = "f32"
    bar: float | None = None
    against: tuple = ("PyTorch", "torch.compile")

    @property
    def has_images(self):
        return self.name in ("cnn6", "resnet18", "efficientnet_lite0")

    @property
    def side(self):
        """Pixels."""
        return 224 if self.name == "efficientnet_lite0" else 32


@dataclass(frozen=True)
class Growth:
    """One size that grows while all others stay."""

    flag: str
    mode: str
    title: str
    sizes: tuple = ()
    name: str = "cnn6"
    precision: str = "f32"

    def values(self, threads):
        """Threads double up to the cores of the machine."""
        if self.sizes:
            return self.sizes
        cores = max(os.cpu_count() or 1, threads)
        return sorted({1, cores, *(2**power for power in range(10) if 2**power <= cores)})


TRAINING = [
    Work("softmax", "train", 100, bar=3.0),
    Work("mlp", "train", 100, bar=1.3),
    Work("cnn6", "train", 128, bar=1.5),
    Work("resnet18", "train", 128, bar=1.5),
    Work("cnn6", "train", 128, "bf16", bar=1.2),
    Work("resnet18", "train", 128, "bf16", bar=1.0),
]

FASTEST = ("PyTorch", "torch.compile", "ONNX Runtime", "OpenVINO")
INFERENCE = [
    Work(name, "infer", batch, bar=1.3, against=FASTEST) for batch in (1, 128) for name in ("cnn6", "resnet18")
]

# What a classifier sees of photographs.
FEATURES = [Work("efficientnet_lite0", "features", batch, bar=1.2, against=FASTEST) for batch in (1, 32)]

# Here the bar is the most that may be used, as a share of PyTorch's.
MEMORY = [Work(work.name, "memory", work.batch, work.precision, bar=0.7) for work in TRAINING]

GROWTH = [
    Growth(flag, mode, title, sizes)
    for flag, title, sizes in (
        ("--threads", "threads", ()),
        ("--batch", "images a batch", (1, 2, 8, 32, 128, 512)),
        ("--width", "% of the channels", (50, 100, 200)),
        ("--size", "pixels a side", (16, 32, 64)),
    )
    for mode in ("train", "infer")
]

# Photographs decoded and resized, against torchvision.
DECODING = 1.5

# Answers a second over HTTP, against the best peer; and what holds for every network: the 99th percentile at half of that
# peer's capacity against its own, the share of the peak under twice the load, milliseconds of a refusal and of a start.
SERVING = {"cnn": 2.0, "efficientnet_lite0": 1.3}
SERVING_P99, SERVING_GOODPUT, SERVING_REFUSAL, SERVING_START = 0.5, 0.9, 100, 200
# Milliseconds of a single request on an idle server.
SERVING_IDLE = {"cnn": 3}

# Seconds from the start of the process, and the test accuracy to reach within them, in %.
CIFAR10 = {
    12.42: {"bf16": 60.0, "f32": 58.0},
    300.0: {"bf16": 88.0, "f32": 86.0},
    600.0: {"bf16": 90.5, "f32": 89.0},
}


def key_of(work):
    if isinstance(work, Growth):
        return f"growth {work.mode} {work.flag.strip('-')}"
    return f"{work.mode} {work.name} {work.batch} {work.precision}"


def key_of_cifar10(entry):
    return f"cifar10 {entry['within']:g} s{' airbench94' if entry['peer'] else ''}"
