"""From a device's name to the device."""

from __future__ import annotations

import os

import torch

from gmvae_fast._checks import nearest

DEVICES = ("auto", "cpu", "cuda")


def resolve_device(name: str) -> torch.device:
    """ "auto" is the current CUDA device where torch sees one, else the CPU; "cuda" and "cuda:1" must be there.

    In a process that torchrun started, the device without a number is that of its place on the machine.

    Raises
    ------
    ValueError
        For other names, and a CUDA device that is not there, with the reason.
    """
    kind, colon, number = name.partition(":")
    if kind not in DEVICES or (colon and (kind != "cuda" or not number.isdecimal())):
        raise ValueError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}{nearest(name, DEVICES)}")
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cpu" or (kind == "auto" and not devices):
        return torch.device("cpu")
    if not devices:
        built = "this torch is built without CUDA" if torch.version.cuda is None else "torch sees no CUDA device"
        raise ValueError(f"device {name!r} is not there: {built}; use cpu or auto")
    if number and int(number) >= devices:
        raise ValueError(f"device {name!r} is not there: torch sees {devices} CUDA device(s), counted from 0")
    if not number and (local := os.environ.get("LOCAL_RANK", "")).isdecimal():
        number = str(int(local) % devices)
    return torch.device("cuda", int(number) if number else torch.cuda.current_device())
