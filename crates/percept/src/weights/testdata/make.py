#!/usr/bin/env python3
"""Small files of PyTorch's two formats, with the same tensors: python3 make.py, with torch (2.15 wrote those that are here)."""

import collections
import pathlib

import torch

HERE = pathlib.Path(__file__).parent
base = torch.arange(12, dtype=torch.float32).reshape(3, 4) / 4
state = collections.OrderedDict(
    plain=base,
    transposed=base.t(),
    part=base[1:, 1:3],
    half=base[0].half(),
    brain=base[0].bfloat16(),
    double=base[0].double(),
    counter=torch.tensor(7),
)
torch.save({"epoch": 3, "state_dict": state}, HERE / "zip.pth")
torch.save(state, HERE / "old.pth", _use_new_zipfile_serialization=False)
module = torch.nn.Linear(2, 1)
torch.nn.init.constant_(module.weight, 0.5)
torch.nn.init.constant_(module.bias, 0.25)
torch.save({f"module.{name}": value for name, value in module.named_parameters()}, HERE / "parameters.pth")
torch.save(module, HERE / "whole-module.pth")
