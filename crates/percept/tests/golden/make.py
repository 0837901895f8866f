#!/usr/bin/env python3
"""Golden logits: what the networks of torchvision and timm make of one image.

    python3 crates/percept/tests/golden/make.py [MODEL...]

writes logits.json beside this file, or the named models anew in it; `cargo test --release -p percept --test golden` then
holds Percept's networks to it. It needs torch, torchvision and timm; with which versions the logits were computed is in the
file.

Files of weights whose makers name tensors, pad, or add to variances otherwise than Percept's networks do by themselves are
there with the names and shapes of all tensors: the test writes such a file and reads it as a user's.

Weights and image are not stored: both sides compute them from the name of each parameter and the place in it, in the
order of files. The networks run in f64 on numbers that are exact in f32, so that what is measured is Percept's error
alone.
"""

import json
import platform
import sys
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision

FILE = Path(__file__).with_name("logits.json")

# Percept's name, the side of the image, whose definition it is, and how to build it.
MODELS = {
    "resnet18": (224, "torchvision.models.resnet18", lambda: torchvision.models.resnet18()),
    "resnet34": (224, "torchvision.models.resnet34", lambda: torchvision.models.resnet34()),
    "resnet50": (224, "torchvision.models.resnet50", lambda: torchvision.models.resnet50()),
    "efficientnet_lite0": (224, "timm tf_efficientnet_lite0", lambda: timm.create_model("tf_efficientnet_lite0")),
    "efficientnet_lite1": (240, "timm tf_efficientnet_lite1", lambda: timm.create_model("tf_efficientnet_lite1")),
    "efficientnet_lite2": (260, "timm tf_efficientnet_lite2", lambda: timm.create_model("tf_efficientnet_lite2")),
    "mobilenet_v3_large": (224, "timm mobilenetv3_large_100", lambda: timm.create_model("mobilenetv3_large_100")),
    "convnext_tiny": (224, "timm convnext_tiny", lambda: timm.create_model("convnext_tiny")),
}

# The same by maker and model, for files as these write them.
FILES = {
    "timm:efficientnet_lite0": (224, "timm efficientnet_lite0", lambda: timm.create_model("efficientnet_lite0")),
    "torchvision:mobilenet_v3_large": (
        224,
        "torchvision.models.mobilenet_v3_large",
        lambda: torchvision.models.mobilenet_v3_large(),
    ),
    "torchvision:convnext_tiny": (224, "torchvision.models.convnext_tiny", lambda: torchvision.models.convnext_tiny()),
}


def draw(name, count):
    """64 bits for each place: FNV-1a of the name, then splitmix64."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    bits = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def numbers(name, shape):
    """A parameter, by its name and shape alone. All arithmetic is in f32."""
    count = int(np.prod(shape))
    uniform = (draw(name, count) >> np.uint64(40)).astype(np.float32) / np.float32(2**24)  # 0 to 1, exact
    part = name.rsplit(".", 1)[-1]
    if part in ("bias", "running_mean"):
        values = (uniform - np.float32(0.5)) * np.float32(2.0)
    elif part == "weight" and len(shape) > 1:
        # Keeps the size of what goes through a linear layer and a ReLU (He et al. 2015).
        bound = np.float32(np.sqrt(6.0 / (count // shape[0])))
        values = (uniform - np.float32(0.5)) * np.float32(2.0) * bound
    elif part == "running_var":
        values = uniform + np.float32(0.5)
    else:  # scales of norms and layers: below 1, so that what residuals add up does not outgrow all else
        values = uniform * np.float32(0.6) + np.float32(0.4)
    return values.reshape(shape)


def image(side):
    """Bytes [side, side, 3]: squares of 16 pixels, and noise upon them."""
    squares = -(-side // 16)
    coarse = (draw("squares", squares * squares * 3) >> np.uint64(57)).reshape(squares, squares, 3)
    coarse = coarse.repeat(16, axis=0).repeat(16, axis=1)[:side, :side]
    fine = (draw("noise", side * side * 3) >> np.uint64(57)).reshape(side, side, 3)
    return (coarse + fine).astype(np.uint8)


def logits(model, side):
    state = model.state_dict()
    for name, tensor in state.items():
        if not name.endswith("num_batches_tracked"):
            state[name] = torch.from_numpy(numbers(name, tuple(tensor.shape)))
    model.load_state_dict(state)
    mean = np.float32(255) * np.array([0.485, 0.456, 0.406], np.float32)
    deviation = np.float32(255) * np.array([0.229, 0.224, 0.225], np.float32)
    pixels = (image(side).astype(np.float64) - mean) / deviation
    with torch.no_grad():
        found = model.double().eval()(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0]
    return [float(f"{value:.8g}") for value in found.tolist()]


def main():
    wanted = sys.argv[1:] or [*MODELS, *FILES]
    file = json.loads(FILE.read_text()) if sys.argv[1:] and FILE.exists() else {"models": {}}
    file.setdefault("files", {})
    file["made_with"] = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "timm": timm.__version__,
    }
    for name in wanted:
        part, (side, definition, build) = ("models", MODELS[name]) if name in MODELS else ("files", FILES[name])
        model = build()
        shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
        entry = {"definition": definition, "side": side, "logits": logits(model, side)}
        if part == "files":
            entry["tensors"] = {name: shape for name, shape in shapes.items() if not name.endswith("num_batches_tracked")}
        file[part][name] = entry
        found = np.array(entry["logits"])
        print(f"{name}: logits from {found.min():.3f} to {found.max():.3f}, deviation {found.std():.3f}")
    parts = [f'  "made_with": {json.dumps(file["made_with"])}']
    for part in ("models", "files"):
        rows = [f'    "{name}": {json.dumps(model)}' for name, model in file[part].items()]
        parts.append(f'  "{part}": {{\n' + ",\n".join(rows) + "\n  }")
    FILE.write_text("{\n" + ",\n".join(parts) + "\n}\n")


if __name__ == "__main__":
    main()
