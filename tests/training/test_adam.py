"""The native step of Adam is that of torch, whatever the tensors, the threads and the instruction set."""

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import optimizer as optimizers
from torch.utils._python_dispatch import TorchDispatchMode

import gmvae_fast as gf
from gmvae_fast import _native
from gmvae_fast.training import descent
from gmvae_fast.training.adam import Adam

SHAPES = [(3, 5), (17,), (), (0, 4), (64, 33), (1,), (7, 1), (2, 3, 4, 5)]


def parameters(shapes=SHAPES, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in shapes]


def gradients(like, step):
    """Of sizes between 1e-6 and 1e2; the first tensor has none in every third step."""
    generator = torch.Generator().manual_seed(100 + step)
    for i, parameter in enumerate(like):
        scale = 10.0 ** ((i * 7 + step) % 9 - 6)
        gradient = scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.grad = None if i == 0 and step % 3 == 1 else torch.empty_like(parameter).copy_(gradient)


def descend(optimizer, steps, first=0):
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    for step in range(first, first + steps):
        gradients(trained, step)
        optimizer.step()
    return trained


@pytest.fixture
def native_calls(monkeypatch):
    """Counts the steps that the kernel takes."""
    calls, launch = [], _native.launch

    def counted(name, *args):
        calls.append(name)
        launch(name, *args)

    monkeypatch.setattr(_native, "launch", counted)
    return calls


def assert_alike(found, expected, dtype, steps):
    """Within the rounding of a few operations a step, in a parameter of size 1 to 4 that moves 0.01 a step."""
    tolerance = 2 * steps * torch.finfo(dtype).eps
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.3, 0.5), (0.0, 0.0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_torch(dtype, betas, instruction_set, native_calls):
    ours = descend(Adam(parameters(dtype=dtype), lr=0.01, betas=betas), 50)
    theirs = descend(torch.optim.Adam(parameters(dtype=dtype), lr=0.01, betas=betas, foreach=False), 50)
    assert len(native_calls) == 50
    assert_alike(ours, theirs, dtype, 50)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_state_equals_that_of_torch(dtype, native_calls):
    ours, theirs = Adam(parameters(dtype=dtype)), torch.optim.Adam(parameters(dtype=dtype), fused=True)
    descend(ours, 7)
    descend(theirs, 7)
    ours, theirs = ours.state_dict(), theirs.state_dict()
    assert len(native_calls) == 7
    assert ours["param_groups"] == theirs["param_groups"]
    assert ours["state"].keys() == theirs["state"].keys()
    for index, state in theirs["state"].items():
        assert list(ours["state"][index]) == list(state)
        for slot, value in state.items():
            found = ours["state"][index][slot]
            assert (found.dtype, found.stride()) == (value.dtype, value.stride())
            size = float(value.abs().max()) if value.numel() else 0.0  # a mean that passes zero has lost digits
            torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-6 * size)
    assert {float(s["step"]) for s in ours["state"].values()} == {5.0, 7.0}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_result_for_every_number_of_threads(dtype, instruction_set, native_calls):
    shapes = [(3, 5), (127, 130), (1,), (201, 200), (0,), (13,)]  # more values than one thread keeps for itself
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            results.append(descend(Adam(parameters(shapes, dtype), lr=0.01), 3))
    finally:
        torch.set_num_threads(before)
    assert len(native_calls) == 12
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


@pytest.mark.parametrize("offset", [1, 2, 3, 5])
def test_any_alignment(offset, instruction_set, native_calls):
    buffer = torch.randn(400)

    def shifted():
        return [nn.Parameter(buffer.clone()[offset : offset + 371])]

    ours, theirs = descend(Adam(shifted()), 3), descend(torch.optim.Adam(shifted(), foreach=False), 3)
    assert native_calls == ["adam"] * 2  # the only parameter has no gradient in the second step
    assert_alike(ours, theirs, torch.float32, 3)


def test_channels_last_parameters(native_calls):
    def weights():
        shape = (4, 3, 5, 5)
        torch.manual_seed(0)
        last = torch.randn(shape).to(memory_format=torch.channels_last)
        return [nn.Parameter(torch.randn(2)), nn.Parameter(last), nn.Parameter(torch.randn(5, 4).t())]

    ours, theirs = descend(Adam(weights()), 5), descend(torch.optim.Adam(weights(), foreach=False), 5)
    assert len(native_calls) == 5
    assert all(p.stride() == q.stride() for p, q in zip(ours, weights(), strict=True))
    assert_alike(ours, theirs, torch.float32, 5)


def test_strides_of_single_rows_do_not_count(native_calls):
    ours, theirs = parameters([(64, 1)]), parameters([(64, 1)])
    for trained, optimizer in ((ours, Adam(ours)), (theirs, torch.optim.Adam(theirs, foreach=False))):
        trained[0].grad = torch.arange(64.0)[None].t()
        optimizer.step()
    assert native_calls == ["adam"]
    assert_alike(ours, theirs, torch.float32, 1)


def test_groups_and_mixed_types(native_calls):
    def optimizer(cls, **options):
        single, double = parameters([(3, 4), (5,)]), parameters([(2, 2), (6,)], torch.float64)
        return cls([{"params": [single[0], double[0]]}, {"params": [single[1], double[1]], "lr": 0.1}], **options)

    ours, theirs = descend(optimizer(Adam), 4), descend(optimizer(torch.optim.Adam, foreach=False), 4)
    assert len(native_calls) == 15  # four a step, one less where the first tensor has no gradient
    assert_alike(ours, theirs, torch.float32, 4)


def test_nan_and_infinity_spread_as_in_torch(instruction_set, native_calls):
    found = []
    for cls, options in ((Adam, {}), (torch.optim.Adam, {"foreach": False})):
        trained = parameters([(40,)])
        optimizer = cls(trained, lr=0.1, **options)
        for step in range(3):
            gradient = torch.linspace(-1, 1, 40)
            gradient[3] = 0
            if step == 1:
                gradient[[0, 17, 39]] = torch.tensor([torch.nan, torch.inf, -torch.inf])
            trained[0].grad = gradient
            optimizer.step()
        found.append(trained[0].detach())
    assert len(native_calls) == 3
    assert found[0].isnan().nonzero().flatten().tolist() == [0, 17, 39]
    torch.testing.assert_close(*found, equal_nan=True, rtol=1e-6, atol=1e-6)


def test_parameters_on_shared_memory_are_updated_one_after_the_other(native_calls):
    before, results = torch.get_num_threads(), []
    try:
        for threads, cls, options in ((1, Adam, {}), (4, Adam, {}), (1, torch.optim.Adam, {"foreach": False})):
            torch.set_num_threads(threads)
            buffer = torch.randn(50_000, generator=torch.Generator().manual_seed(0))
            descend(cls([nn.Parameter(buffer), nn.Parameter(buffer[10_000:])], lr=0.01, **options), 3)
            results.append(buffer)
    finally:
        torch.set_num_threads(before)
    assert len(native_calls) == 6
    assert torch.equal(*results[:2])
    assert_alike(results[:1], results[2:], torch.float32, 3)


# --- what torch steps itself ------------------------------------------------------------------------------------


def _gaps():
    return [nn.Parameter(torch.arange(24.0).reshape(4, 6)[:, ::2])]


def _transposed(parameter):
    parameter.grad = parameter.grad.t().contiguous().t()


def _expanded(parameter):
    parameter.grad = parameter.grad[:, :1].expand_as(parameter)


def _negated(parameter):
    parameter.grad = torch._neg_view(parameter.grad)


OTHERS = {
    "gaps": (_gaps, {}, None),
    "transposed gradient": (lambda: parameters([(4, 3)]), {}, _transposed),
    "expanded gradient": (lambda: parameters([(4, 3)]), {}, _expanded),
    "negated gradient": (lambda: parameters([(4, 3)]), {}, _negated),
    "rate in a tensor": (lambda: parameters([(4, 3)]), {"lr": torch.tensor(0.01)}, None),
    "weight decay": (lambda: parameters([(4, 3)]), {"weight_decay": 0.1}, None),
    "amsgrad": (lambda: parameters([(4, 3)]), {"amsgrad": True}, None),
    "ascent": (lambda: parameters([(4, 3)]), {"maximize": True}, None),
    "bfloat16": (lambda: parameters([(4, 3)], torch.bfloat16), {}, None),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_does_not_suit_the_kernel_takes_the_step_of_torch(name, native_calls):
    make, settings, change = OTHERS[name]
    found = []
    for cls, options in ((Adam, {}), (torch.optim.Adam, {"foreach": False})):
        trained = make()
        optimizer = cls([{"params": trained, "lr": 0.01, **settings}], **options)
        for step in range(3):
            gradients(trained, 3 * step)
            if change is not None:
                change(trained[0])
            optimizer.step()
        found.append(trained)
    assert not native_calls
    assert_alike(*found, found[0][0].dtype, 3)


def test_a_sparse_gradient_is_refused_as_by_torch():
    trained = parameters([(4, 3)])
    trained[0].grad = torch.eye(4, 3).to_sparse()
    with pytest.raises(RuntimeError, match="does not support sparse gradients"):
        Adam(trained).step()


def test_moments_in_another_order_than_their_parameter(native_calls):
    def optimizer(cls, **options):
        return cls([nn.Parameter(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).t())], **options)

    first = optimizer(Adam)
    descend(first, 1)
    state = copy.deepcopy(first.state_dict())
    state["state"][0] |= {slot: state["state"][0][slot].contiguous() for slot in ("exp_avg", "exp_avg_sq")}
    ours, theirs = optimizer(Adam), optimizer(torch.optim.Adam, foreach=False)
    for other in (ours, theirs):
        other.load_state_dict(copy.deepcopy(state) | {"param_groups": other.state_dict()["param_groups"]})
    assert_alike(descend(ours, 2, first=2), descend(theirs, 2, first=2), torch.float32, 2)
    assert native_calls == ["adam"]


@pytest.mark.filterwarnings("ignore:.*GradScaler")
def test_scaled_gradients(native_calls):
    found = []
    for cls, options in ((Adam, {}), (torch.optim.Adam, {"fused": True})):
        trained = parameters([(4, 3)])
        optimizer, scaler = cls(trained, lr=0.01, **options), torch.amp.GradScaler("cpu", init_scale=8.0)
        for factor in (1.0, torch.inf, 2.0):
            optimizer.zero_grad()
            scaler.scale((factor * trained[0]).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
        found.append(trained)
    assert_alike(*found, torch.float32, 3)
    assert found[0][0].isfinite().all()


def test_what_intercepts_operators_sees_the_step(native_calls):
    names = []

    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            names.append(function.__name__)
            return function(*args, **(kwargs or {}))

    trained = parameters([(4, 3)])
    gradients(trained, 0)
    with Seen():
        Adam(trained).step()
    assert not native_calls
    assert any("fused_adam" in name for name in names)


# --- an optimiser of torch in every other way -------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.1}], ids=["native", "torch"])
def test_hooks_run_once_a_step(settings):
    torch.optim.Adam(parameters([(1,)]))  # torch wraps a class's step when the first of it is made
    trained, seen = parameters([(4, 3)]), []
    optimizer = Adam([{"params": trained, **settings}])
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    gradients(trained, 0)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        optimizer.step()
    assert seen == ["before", "after"]
    assert sum(event.count for event in found.key_averages() if event.key == "Optimizer.step#Adam.step") == 1


def test_hooks_of_all_optimisers_run_once_a_step():
    seen, trained = [], parameters([(4, 3)])
    handles = [
        optimizers.register_optimizer_step_pre_hook(lambda *_: seen.append("before")),
        optimizers.register_optimizer_step_post_hook(lambda *_: seen.append("after")),
    ]
    try:
        gradients(trained, 0)
        Adam(trained).step()
    finally:
        for handle in handles:
            handle.remove()
    assert seen == ["before", "after"]
    Adam(trained).step()
    assert seen == ["before", "after"]


def test_a_graph_through_changed_parameters_is_refused():
    trained = parameters([(4, 3)])
    optimizer = Adam(trained)
    loss = trained[0].square().sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_closures_compute_gradients():
    trained = parameters([(4, 3)])
    optimizer = Adam(trained, lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = trained[0].square().sum()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(5)]
    assert all(later < earlier for earlier, later in itertools.pairwise(losses))


def test_a_schedule_sets_the_rate(native_calls):
    found = []
    for cls, options in ((Adam, {}), (torch.optim.Adam, {"foreach": False})):
        optimizer = cls(parameters(), lr=0.1, **options)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        for step in range(4):
            trained = descend(optimizer, 1, first=step)
            schedule.step()
        found.append(trained)
    assert len(native_calls) == 4
    assert_alike(*found, torch.float32, 4)


@pytest.mark.parametrize("options", [{"fused": True}, {"foreach": False}], ids=str)
def test_states_of_torch_load_and_go_on(options, native_calls):
    straight = torch.optim.Adam(parameters(), **options)
    descend(straight, 4)
    ours = Adam([nn.Parameter(p.detach().clone()) for p in straight.param_groups[0]["params"]])
    ours.load_state_dict({"state": copy.deepcopy(straight.state_dict()["state"]), **_groups(ours)})
    back = torch.optim.Adam([nn.Parameter(p.detach().clone()) for p in ours.param_groups[0]["params"]], **options)
    back.load_state_dict({"state": copy.deepcopy(ours.state_dict()["state"]), **_groups(back)})
    expected = descend(straight, 4, first=4)
    assert_alike(descend(ours, 4, first=4), expected, torch.float32, 4)
    assert_alike(descend(back, 4, first=4), expected, torch.float32, 4)
    assert len(native_calls) == 4


def _groups(optimizer):
    return {"param_groups": optimizer.state_dict()["param_groups"]}


class Stop(Exception):
    pass


def test_a_run_goes_on_from_a_checkpoint_of_torchs_adam(tmp_path, monkeypatch, one_thread):
    x = np.random.default_rng(0).normal(size=(96, 10)).astype(np.float32)
    settings = gf.TrainConfig(epochs=6, warmup_epochs=1, batch_size=32, n_init=1, scheme="joint")
    models = [gf.GMVAE((10,), n_components=2, widths=(16,)) for _ in range(2)]

    def stop(record):
        if record.epoch == 3:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(descent, "Adam", lambda trained, lr: torch.optim.Adam(trained, lr=lr, fused=True))
        gf.fit(models[0], x, settings)
        with pytest.raises(Stop):
            gf.fit(models[1], x, settings, checkpoint=tmp_path / "run.ckpt", checkpoint_every=1, on_epoch=stop)
    epochs = []
    gf.fit(
        models[1], x, settings, checkpoint=tmp_path / "run.ckpt", on_epoch=lambda record: epochs.append(record.epoch)
    )
    assert epochs == [4, 5, 6]
    for name, value in models[0].state_dict().items():
        torch.testing.assert_close(models[1].state_dict()[name], value, rtol=1e-3, atol=1e-4)
