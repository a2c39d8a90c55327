"""CUDA graphs are asked of torch.compile where they can be had; elsewhere training is what it is without them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import gmvae_fast as gf
from gmvae_fast.distributed import Ranks
from gmvae_fast.training import compiling

CUDA, CPU = torch.device("cuda", 1), torch.device("cpu")


@pytest.fixture
def asked(monkeypatch):
    """What torch.compile was asked for; it gives back the function itself."""
    calls = []
    monkeypatch.setattr(torch, "compile", lambda f, **options: (calls.append(options), f)[1])
    return calls


@pytest.mark.parametrize(
    ("device", "size", "reason"),
    [(CUDA, 1, ""), (CPU, 1, "the model is on cpu"), (torch.device("meta"), 1, "meta"), (CUDA, 4, "over 4 processes")],
)
def test_where_they_can_be_had(device, size, reason):
    found = compiling.graphs_refused(device, SimpleNamespace(size=size))
    assert reason in found
    assert bool(found) == bool(reason)


@pytest.mark.parametrize(
    ("options", "device", "expected"),
    [
        ({}, CUDA, []),
        ({"compile": True}, CUDA, [{}]),
        ({"cuda_graphs": True}, CUDA, [{"mode": "reduce-overhead", "dynamic": False}]),
        ({"cuda_graphs": True, "compile": True}, CUDA, [{"mode": "reduce-overhead", "dynamic": False}]),
        ({"cuda_graphs": True}, CPU, []),
        ({"cuda_graphs": True, "compile": True}, CPU, [{}]),
    ],
)
def test_what_is_asked_for(asked, options, device, expected):
    compiling.compiled(lambda: None, gf.TrainConfig(**options), device, Ranks())
    assert asked == expected


def fitted(**options):
    x = np.random.default_rng(0).standard_normal((70, 12)).astype(np.float32)  # the last batch is a smaller one
    model = gf.GMVAE((12,), n_components=2, widths=(8,))
    config = gf.TrainConfig(epochs=4, warmup_epochs=2, batch_size=32, n_init=2, refits=0, **options)
    return gf.fit(model, x, config, progress=False), model.state_dict()


def test_every_step_begins_one_of_the_graphs(monkeypatch, asked):
    _, expected = fitted()
    begun = []
    monkeypatch.setattr(compiling, "graphs_refused", lambda *_: "")
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: begun.append(1))
    _, found = fitted(cuda_graphs=True)
    assert len(asked) == 1
    assert len(begun) == 4 * 3  # epochs, batches
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_on_a_cpu_training_goes_on_and_says_so():
    _, expected = fitted()
    history, found = fitted(cuda_graphs=True)
    assert [e.message for e in history.events if e.kind == "cuda_graphs"] == [
        "training goes on without CUDA graphs: the model is on cpu"
    ]
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_setting_of_another_type():
    with pytest.raises(TypeError, match="cuda_graphs must be True or False, got 'auto'"):
        gf.TrainConfig(cuda_graphs="auto")
