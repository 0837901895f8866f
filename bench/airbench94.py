"""The speed recipe airbench94 (Keller Jordan 2024, arXiv:2404.00498, with Muon) in PyTorch on the CPU: what the time
of whole trainings on CIFAR-10 is compared with. Written from its description.

usage: airbench94.py FOLDER [--epochs 8 | --seconds S] [--threads 2] [--seed 0] [--steps N] [--compile]

FOLDER holds train/<class>/*.jpg and test/<class>/*.jpg. bf16 autocast where the processor has instructions for it.
Prints one JSON object: test accuracy with and without test-time views, and the seconds since the script began, reading
of the images included.
"""

import time

BEGIN = time.perf_counter()

import argparse
import concurrent.futures
import json
import pathlib
import sys

import numpy
import results
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

WIDTHS = (64, 256, 256)
BATCH = 2000
LABEL_SMOOTHING = 0.2
# Learning rates are for the sum of the losses of a batch.
FILTERS_RATE, FILTERS_MOMENTUM = 0.24, 0.6
BIAS_RATE, HEAD_RATE, MOMENTUM, DECAY = 0.053, 0.67, 0.85, 2e-6 * BATCH
# The whitening's bias learns during the first epochs alone, of eight.
WHITENING_SHARE = 3 / 8
SHIFT = 2


def seconds():
    return time.perf_counter() - BEGIN


def say(text):
    print(f"{seconds():7.1f} s  {text}", file=sys.stderr, flush=True)


# Images: [count, 3, 32, 32], normalised, and labels.


def read_split(folder, threads):
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    files = [(file, label) for label, name in enumerate(classes) for file in sorted((folder / name).iterdir())]
    pixels = numpy.empty((len(files), 32, 32, 3), numpy.uint8)

    def read(place):
        with Image.open(files[place][0]) as picture:
            pixels[place] = picture.convert("RGB")

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(read, range(len(files)), chunksize=500):
            pass
    return torch.from_numpy(pixels), torch.tensor([label for _, label in files])


def normalise(pixels):
    mean, deviation = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])
    return ((pixels.float() / 255 - mean) / deviation).permute(0, 3, 1, 2)


def shifted(padded, generator):
    """Each image at a random place of its padded self."""
    count = len(padded)
    rows, columns = (torch.randint(0, 2 * SHIFT + 1, (count,), generator=generator) for _ in range(2))
    out = torch.empty(count, 3, 32, 32, memory_format=torch.channels_last)
    for row in range(2 * SHIFT + 1):
        for column in range(2 * SHIFT + 1):
            here = (rows == row) & (columns == column)
            out[here] = padded[here, :, row : row + 32, column : column + 32]
    return out


class Batches:
    """Shuffled, shifted and mirrored: half of the images in the first epoch, then each the other way every time."""

    def __init__(self, images, labels, seed):
        self.generator = torch.Generator().manual_seed(seed)
        flip = torch.rand(len(images), generator=self.generator) < 0.5
        images[flip] = images[flip].flip(-1)
        self.padded, self.labels, self.epoch = F.pad(images, (SHIFT,) * 4, "reflect"), labels, 0

    def __iter__(self):
        order = torch.randperm(len(self.labels), generator=self.generator)
        for chosen in order[: len(order) // BATCH * BATCH].split(BATCH):
            images = shifted(self.padded[chosen], self.generator)
            yield (images.flip(-1) if self.epoch % 2 else images), self.labels[chosen]
        self.epoch += 1


# The network.


class Norm(nn.BatchNorm2d):
    """Its scale stays one."""

    def __init__(self, channels):
        super().__init__(channels, eps=1e-12, momentum=0.4)
        self.weight.requires_grad = False


def convolution(inputs, outputs):
    layer = nn.Conv2d(inputs, outputs, 3, padding="same", bias=False)
    nn.init.dirac_(layer.weight[:inputs])
    return layer


def group(inputs, outputs):
    return [
        convolution(inputs, outputs),
        nn.MaxPool2d(2),
        Norm(outputs),
        nn.GELU(),
        convolution(outputs, outputs),
        Norm(outputs),
        nn.GELU(),
    ]


class Scale(nn.Module):
    """Divides by the features that each logit sums."""

    def forward(self, x):
        return x / WIDTHS[-1]


def whitening(images):
    """Each eigenvector of the covariance of 2x2 patches, scaled to unit variance, and its negative."""
    patches = F.unfold(images.contiguous(), 2).transpose(1, 2).reshape(-1, 12)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / (values + 5e-4).sqrt()).T.reshape(12, 3, 2, 2)
    layer = nn.Conv2d(3, 24, 2)
    layer.weight.data = torch.cat([filters, -filters])
    layer.weight.requires_grad = False
    nn.init.zeros_(layer.bias)
    return layer


def build(images):
    layers, inputs = [whitening(images[:5000]), nn.GELU()], 24
    for outputs in WIDTHS:
        layers += group(inputs, outputs)
        inputs = outputs
    head = nn.Linear(inputs, 10, bias=False)
    nn.init.normal_(head.weight)
    model = nn.Sequential(*layers, nn.MaxPool2d(3), nn.Flatten(), head, Scale())
    return model.to(memory_format=torch.channels_last)


# The optimisers.


def orthogonal(gradient):
    """Three steps of Newton and Schulz towards the nearest matrix whose singular values are all one."""
    x = gradient / (gradient.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(3):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum made orthogonal, on filters of constant norm."""

    def __init__(self, filters):
        super().__init__(filters, {"lr": FILTERS_RATE})

    @torch.no_grad()
    def step(self):
        for parameters in self.param_groups:
            for filters in parameters["params"]:
                velocity = self.state[filters].setdefault("velocity", torch.zeros_like(filters))
                velocity.mul_(FILTERS_MOMENTUM).add_(filters.grad)
                ahead = filters.grad.add(velocity, alpha=FILTERS_MOMENTUM)
                filters.mul_(len(filters) ** 0.5 / filters.norm())
                update = orthogonal(ahead.reshape(len(filters), -1)).reshape(filters.shape)
                filters.add_(update, alpha=-parameters["lr"])


def optimisers(model):
    filters = [layer.weight for layer in model if isinstance(layer, nn.Conv2d) and layer.weight.requires_grad]
    biases = [layer.bias for layer in model if isinstance(layer, Norm)]
    groups = [
        {"params": [model[0].bias], "lr": BIAS_RATE, "weight_decay": DECAY / BIAS_RATE, "whitening": True},
        {"params": biases, "lr": BIAS_RATE, "weight_decay": DECAY / BIAS_RATE},
        {"params": [model[-2].weight], "lr": HEAD_RATE, "weight_decay": DECAY / HEAD_RATE},
    ]
    return [torch.optim.SGD(groups, momentum=MOMENTUM, nesterov=True, fused=True), Muon(filters)]


def set_rates(both, progress):
    """Falls in a line to nothing, sooner for the whitening's bias."""
    for optimiser in both:
        for parameters in optimiser.param_groups:
            first = parameters.setdefault("first_rate", parameters["lr"])
            end = WHITENING_SHARE if parameters.get("whitening") else 1
            parameters["lr"] = first * max(0.0, 1 - progress / end)


def train(model, network, batches, arguments, cast):
    """Says how many steps it took."""
    both, count, begin = optimisers(model), 0, seconds()
    steps = arguments.epochs * (len(batches.labels) // BATCH)
    model.train()
    while True:
        for images, labels in batches:
            progress = count / steps
            if arguments.seconds:
                progress = (seconds() - begin) / (arguments.seconds - begin)
            if progress >= 1 or count == arguments.steps:
                return count
            set_rates(both, progress)
            with cast():
                logits = network(images)
            loss = F.cross_entropy(logits.float(), labels, label_smoothing=LABEL_SMOOTHING, reduction="sum")
            loss.backward()
            for optimiser in both:
                optimiser.step()
                optimiser.zero_grad()
            count += 1
            say(f"step {count}  loss {loss.item() / BATCH:.3f}")


# Accuracy.


def views(network, images):
    """The image and its mirror image, as they are and shifted by one pixel each way."""
    padded = F.pad(images, (1,) * 4, "reflect")
    moved = [padded[:, :, 0:32, 0:32], padded[:, :, 2:34, 2:34]]
    both = lambda x: network(x) + network(x.flip(-1))
    return 0.5 * both(images) + 0.25 * sum(both(x) for x in moved)


def accuracy(predict, images, labels, cast):
    with torch.inference_mode(), cast():
        right = [(predict(x).argmax(1) == y).sum() for x, y in zip(images.split(BATCH), labels.split(BATCH))]
    return sum(right).item() / len(labels)


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--epochs", type=float, default=8)
    parser.add_argument("--seconds", type=float, help="train until so long after the start instead")
    parser.add_argument("--steps", type=int, default=-1, help="stop after so many, to try whether it runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true")
    return parser.parse_args()


def main():
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    bf16 = results.has_bf16(results.processor()[1])
    cast = lambda: torch.autocast("cpu", torch.bfloat16, enabled=bf16)
    (images, labels), (test_images, test_labels) = (
        read_split(arguments.folder / split, arguments.threads) for split in ("train", "test")
    )
    images, test_images = normalise(images), normalise(test_images)
    say(f"{len(labels)} images read")
    model = build(images)
    network = torch.compile(model) if arguments.compile else model
    steps = train(model, network, Batches(images, labels, arguments.seed), arguments, cast)
    model.eval()
    plain = accuracy(model, test_images, test_labels, cast)
    top1 = accuracy(lambda x: views(model, x), test_images, test_labels, cast)
    answer = {"top1": top1, "top1_without_views": plain, "steps": steps, "seconds": round(seconds(), 1)}
    print(json.dumps({**answer, "precision": "bf16" if bf16 else "f32", "version": torch.__version__}))


if __name__ == "__main__":
    main()
