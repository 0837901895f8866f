"""The networks of the benchmark, written in PyTorch: Percept's own of the same names."""

import torch.nn.functional as F
from side import CLASSES
from torch import nn


def convolution(inputs, outputs, size=3, stride=1):
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


def cnn6():
    layers, inputs = [], 3
    for index, outputs in enumerate([32, 32, 64, 64, 128, 128]):
        layers += [convolution(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if index in (1, 3) else []
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, CLASSES))


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.body = nn.Sequential(
            convolution(inputs, outputs, 3, stride),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            convolution(outputs, outputs),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x):
        return F.relu(self.body(x) + self.shortcut(x))


def resnet18():
    layers, inputs = [convolution(3, 64), nn.BatchNorm2d(64), nn.ReLU()], 64
    for outputs in (64, 128, 256, 512):
        layers += [Block(inputs, outputs, 1 if outputs == 64 else 2), Block(outputs, outputs, 1)]
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, CLASSES))


def mlp():
    return nn.Sequential(nn.Linear(3072, 512), nn.ReLU(), nn.Linear(512, CLASSES))


class InvertedResidual(nn.Module):
    def __init__(self, inputs, outputs, size, stride, expansion):
        super().__init__()
        wide = inputs * expansion
        expand = [nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()] if expansion > 1 else []
        around = nn.Conv2d(wide, wide, size, stride, size // 2, groups=wide, bias=False)
        project = [nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.body = nn.Sequential(*expand, around, nn.BatchNorm2d(wide), nn.ReLU6(), *project)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x):
        return self.body(x) + x if self.adds else self.body(x)


def efficientnet_lite0():
    """Without its classifier. Padding is even on both sides, which spares strided convolutions a pass over the image."""
    layers, inputs = [convolution(3, 32, 3, 2), nn.BatchNorm2d(32), nn.ReLU6()], 32
    stages = [
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    ]
    for blocks, size, stride, expansion, outputs in stages:
        for block in range(blocks):
            layers.append(InvertedResidual(inputs, outputs, size, 1 if block else stride, expansion))
            inputs = outputs
    layers += [nn.Conv2d(inputs, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU6()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


# name: network, usual batch
WORKLOADS = {
    "softmax": (lambda: nn.Linear(3072, CLASSES), 100),
    "mlp": (mlp, 100),
    "cnn6": (cnn6, 128),
    "resnet18": (resnet18, 128),
    "efficientnet_lite0": (efficientnet_lite0, 32),
}
