"""PyTorch's side of bench/run.py: images a second of one workload, on the CPU.

usage: torch_side.py WORKLOAD train|infer [--threads 2] [--repeats 5] [--compile]
Prints the best layout's median as one JSON object: workload, mode, layout, images_per_second, version.

The workloads are those of crates/percept/examples/throughput.rs: random images, SGD without momentum, mean softmax
cross-entropy. The networks are Percept's own of the same names, written in PyTorch.
"""
import argparse, json, time
import torch, torch.nn as nn, torch.nn.functional as F


def convolution(inputs, outputs, size=3, stride=1):
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


def cnn6():
    layers, inputs = [], 3
    for index, outputs in enumerate([32, 32, 64, 64, 128, 128]):
        layers += [convolution(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if index in (1, 3) else []
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.body = nn.Sequential(
            convolution(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs), nn.ReLU(),
            convolution(outputs, outputs), nn.BatchNorm2d(outputs),
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Sequential(
            convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)
        )

    def forward(self, x):
        return F.relu(self.body(x) + self.shortcut(x))


def resnet18():
    layers, inputs = [convolution(3, 64), nn.BatchNorm2d(64), nn.ReLU()], 64
    for outputs in (64, 128, 256, 512):
        layers += [Block(inputs, outputs, 1 if outputs == 64 else 2), Block(outputs, outputs, 1)]
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def mlp():
    return nn.Sequential(nn.Linear(3072, 512), nn.ReLU(), nn.Linear(512, 10))


# name: network, batch, steps that are timed together
WORKLOADS = {
    "softmax": (lambda: nn.Linear(3072, 10), 100, 200),
    "mlp": (mlp, 100, 50),
    "cnn6": (cnn6, 128, 3),
    "resnet18": (resnet18, 128, 1),
}


def median_rate(step, steps, batch, repeats):
    for _ in range(2):
        step()
    rates = []
    for _ in range(repeats):
        begin = time.perf_counter()
        for _ in range(steps):
            step()
        rates.append(steps * batch / (time.perf_counter() - begin))
    return sorted(rates)[len(rates) // 2]


def measure(name, mode, layout, arguments):
    build, batch, steps = WORKLOADS[name]
    torch.manual_seed(0)
    model, labels = build(), torch.randint(0, 10, (batch,))
    images = torch.rand((batch, 3072) if layout == "flat" else (batch, 3, 32, 32))
    if layout == "nhwc":
        model, images = (thing.to(memory_format=torch.channels_last) for thing in (model, images))
    model.train(mode == "train")
    optimiser = torch.optim.SGD(model.parameters(), lr=0.005)
    network = torch.compile(model) if arguments.compile else model

    def train():
        optimiser.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimiser.step()

    def infer():
        with torch.inference_mode():
            network(images)

    return median_rate(train if mode == "train" else infer, steps, batch, arguments.repeats)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("mode", choices=["train", "infer"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    layouts = ["flat"] if arguments.workload in ("softmax", "mlp") else ["nchw", "nhwc"]
    rates = {layout: measure(arguments.workload, arguments.mode, layout, arguments) for layout in layouts}
    layout = max(rates, key=rates.get)
    print(json.dumps({
        "workload": arguments.workload, "mode": arguments.mode, "layout": layout,
        "images_per_second": round(rates[layout], 1), "version": torch.__version__,
    }))


main()
