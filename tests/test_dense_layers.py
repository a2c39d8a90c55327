import copy
import itertools

import pytest
import torch
from torch import nn

import gmvae_fast as gf
from gmvae_fast import _dense_layers
from gmvae_fast._dense_layers import DenseLayers
from gmvae_fast.ops import _dense_chain
from gmvae_fast.training.run import Run

native = pytest.mark.skipif(
    not _dense_chain.available(), reason="this torch has no stable C interface, or another OpenMP runtime"
)
ROWS, SIZES = 256, (200, 256, 128, 12)


def networks(activation=nn.SiLU, seed=0):
    """The same layers as they run here and in torch, and their input."""
    torch.manual_seed(seed)
    layers = [nn.Flatten()]
    for a, b in itertools.pairwise(SIZES):
        layers += [nn.Linear(a, b), activation()]
    mine = DenseLayers(*layers[:-1], nn.Unflatten(1, (3, 4)))
    return mine, nn.Sequential(*copy.deepcopy(list(mine))), torch.randn(ROWS, 2, SIZES[0] // 2)


@pytest.fixture
def chains(monkeypatch):
    """Number of layers of each operator that runs."""
    counted, function = [], _dense_chain.dense_chain
    monkeypatch.setattr(
        _dense_chain, "dense_chain", lambda x, weights, *a: (counted.append(len(weights)), function(x, weights, *a))[1]
    )
    return counted


def gradients(network, x):
    x = x.clone().requires_grad_()
    network(x).float().pow(2).sum().backward()
    found = [x.grad, *(p.grad for p in network.parameters())]
    network.zero_grad()
    return found


def near(found, expected, bound):
    for a, b in zip(found, expected, strict=True):
        assert (a - b).norm() <= bound * b.norm()


@native
@pytest.mark.parametrize("activation", [nn.SiLU, nn.ReLU, nn.LeakyReLU])
def test_equals_sequential(chains, activation):
    mine, plain, x = networks(activation)
    torch.testing.assert_close(mine(x), plain(x), rtol=1e-5, atol=1e-5)
    near(gradients(mine, x), gradients(plain, x), 1e-5)
    assert chains == [3, 3]
    assert mine(x).shape == (ROWS, 3, 4)
    assert list(mine.state_dict()) == list(plain.state_dict())


@native
def test_autocast(chains):
    mine, plain, x = networks()
    with torch.autocast("cpu", torch.bfloat16):
        assert mine(x).dtype == plain(x).dtype == torch.bfloat16
        found, expected = gradients(mine, x), gradients(plain, x)
    near(found, expected, 0.02)
    assert chains == [3, 3]


@native
def test_other_modules_part_the_chain(chains):
    torch.manual_seed(0)
    mine = DenseLayers(
        nn.Linear(300, 300),
        nn.GELU(),
        nn.Linear(300, 300),
        nn.Linear(300, 300),
        nn.ReLU(),
        nn.ReLU(),
        nn.Linear(300, 4),
    )
    x = torch.randn(600, 300)
    torch.testing.assert_close(mine(x), nn.Sequential(*mine)(x), rtol=1e-5, atol=1e-5)
    assert chains == [1, 2]  # the last has too little work


def too_few_rows(mine, x):
    return mine, x[: _dense_layers.LEAST_ROWS * torch.get_num_threads() - 1]


def little_work(mine, x):
    return DenseLayers(*mine[5:]), torch.randn(ROWS, 128)


def float64(mine, x):
    return mine.double(), x.double()


def float16(mine, x):
    def half(value):
        with torch.autocast("cpu", torch.float16):
            return mine(value)

    return half, x


def hooked(mine, x):
    mine[3].register_forward_hook(lambda *_: None)
    mine[1].register_forward_pre_hook(lambda *_: None)
    mine[5].register_full_backward_hook(lambda *_: None)
    return mine, x


def parametrised(mine, x):
    for i in (1, 3, 5):
        nn.utils.parametrizations.weight_norm(mine[i])
    return mine, x


@pytest.mark.parametrize("change", [too_few_rows, little_work, float64, float16, hooked, parametrised])
def test_all_else_is_torchs_own(chains, change):
    mine, _, x = networks()
    network, x = change(mine, x)
    assert torch.isfinite(network(x)).all()
    assert not chains


def test_without_the_operator(monkeypatch, chains):
    monkeypatch.setattr(_dense_chain, "torch_products", lambda: None)
    mine, plain, x = networks()
    torch.testing.assert_close(mine(x), plain(x), rtol=0, atol=0)
    assert not chains


def test_tools_that_watch_operators_or_modules_see_torchs(chains):
    from torch.utils.flop_counter import FlopCounterMode

    mine, plain, x = networks()
    counts = []
    for network in (mine, plain):
        with FlopCounterMode(display=False) as counter:
            network(x)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] == 2 * ROWS * sum(a * b for a, b in itertools.pairwise(SIZES))
    seen = []
    with nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(type(module))):
        mine(x)
    assert seen.count(nn.Linear) == 3
    assert not chains


def test_transforms_and_export(chains):
    mine, plain, x = networks()
    torch.testing.assert_close(torch.func.vmap(mine)(x[None]), plain(x)[None], rtol=1e-5, atol=1e-5)
    (a,), (b,) = (torch.autograd.functional.vjp(n, x, torch.ones(ROWS, 3, 4))[1:] for n in (mine, plain))
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    chains.clear()
    program = torch.export.export(mine, (x,))
    assert "gmvae_fast" not in str(program.graph)
    assert not chains
    torch.testing.assert_close(program.module()(x), plain(x), rtol=1e-5, atol=1e-5)


@native
@pytest.mark.parametrize("half", [False, True])
def test_compiled(half):
    mine, plain, x = networks()
    compiled = torch.compile(mine, backend="aot_eager", fullgraph=True)
    for rows in (ROWS, ROWS - 16):  # the last batch of an epoch
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            near(gradients(compiled, x[:rows]), gradients(plain, x[:rows]), 0.02 if half else 1e-5)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        gradients(compiled, x)
    counts = {event.key: event.count for event in profile.key_averages()}
    assert counts["gmvae_fast::dense_chain"] == counts["gmvae_fast::dense_chain_backward"] == 1


def test_what_does_not_fit_is_torchs_error():
    mine, _, x = networks()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        mine(x[:, :, 1:])


def test_networks_are_made_of_them():
    model = gf.GMVAE((784,), latent_dim=4, n_components=3, network="mlp")
    assert type(model.encoder) is type(model.decoder) is DenseLayers
    convolutional = gf.GMVAE((1, 16, 16), latent_dim=4, n_components=3)
    assert type(convolutional.decoder.head) is DenseLayers


def test_copies_are_whole():
    mine, plain, x = networks()
    torch.testing.assert_close(copy.deepcopy(mine)(x), mine(x), rtol=0, atol=0)
    mine.load_state_dict(plain.state_dict())
    assert type(mine[1:4]) is DenseLayers
    torch.testing.assert_close(mine[0:3](x), plain[0:3](x), rtol=1e-5, atol=1e-5)


@native
def test_networks_of_ones_own(chains):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = nn.Sequential(nn.Linear(200, 256), nn.ReLU(), nn.Sequential(nn.Linear(256, 256), nn.ReLU()))
            self.head = nn.Linear(256, 4)

        def forward(self, x):
            return self.head(self.block(x))

    torch.manual_seed(0)
    mine, x = Own(), torch.randn(ROWS, 200)
    plain = copy.deepcopy(mine)
    assert gf.fuse_dense_layers(mine) is mine
    assert list(mine.state_dict()) == list(plain.state_dict())
    torch.testing.assert_close(mine(x), plain(x), rtol=1e-5, atol=1e-5)
    near(gradients(mine, x), gradients(plain, x), 1e-5)
    assert chains == [1, 1] * 2
    model = gf.GMVAE((200,), latent_dim=2, n_components=2, network=(mine, nn.Linear(2, 200)))
    gf.fit(model, x.numpy(), gf.TrainConfig(epochs=2, warmup_epochs=1, batch_size=ROWS, n_init=1), progress=False)
    assert len(chains) > 4


def test_only_plain_sequentials_are_changed():
    class Reversed(nn.Sequential):
        def forward(self, x):
            return super().forward(-x)

    network = nn.ModuleList([Reversed(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2)), nn.Linear(2, 2)])
    gf.fuse_dense_layers(network)
    assert [type(m) for m in network] == [Reversed, DenseLayers, nn.Linear]


@pytest.mark.parametrize("given", [None, nn.Linear, torch.zeros(2)])
def test_only_modules_can_be_fused(given):
    with pytest.raises(TypeError, match=r"network must be a torch.nn.Module, got (NoneType|type|Tensor)"):
        gf.fuse_dense_layers(given)


@native
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_interrupted_run_goes_on_bit_for_bit(monkeypatch, tmp_path, chains, precision):
    class Interrupted(Exception):
        pass

    def stops(run, epoch=Run.one_epoch):
        if run.epoch == 3:
            raise Interrupted
        return epoch(run)

    def model():
        return gf.GMVAE((200,), latent_dim=2, n_components=2, widths=(256, 256), seed=1)

    x = torch.randn(300, 200, generator=torch.Generator().manual_seed(0)).numpy()
    config = gf.TrainConfig(epochs=5, warmup_epochs=2, batch_size=128, n_init=2, precision=precision)
    undisturbed, resumed = model(), model()
    gf.fit(undisturbed, x, config, progress=False)
    assert chains
    with monkeypatch.context() as patched:
        patched.setattr(Run, "one_epoch", stops)
        with pytest.raises(Interrupted):
            gf.fit(model(), x, config, checkpoint=tmp_path / "run", progress=False)
    gf.fit(resumed, x, config, checkpoint=tmp_path / "run", progress=False)
    for a, b in zip(undisturbed.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)
