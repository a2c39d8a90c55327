import pytest
import torch
from torch import nn

from gmvae_fast.networks import build_networks, check_input_shape, parameter_count, start_confident

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("shape", "network"),
    [
        ((10,), "auto"),
        ((1,), "mlp"),
        ((3, 8, 9), "mlp"),
        ((2, 64), "conv"),
        ((1, 7), "auto"),
        ((2, 1), "conv"),
        ((3, 41, 220), "conv"),
        ((3, 7, 1), "auto"),
        ((1, 1, 1), "conv"),
        ((2, 9, 6, 5), "auto"),
        ((1, 16, 1, 3), "conv"),
    ],
)
@pytest.mark.parametrize("widths", [None, (4, 6)])
def test_shapes_and_gradients(shape, network, widths):
    encoder, decoder = build_networks(shape, 3, network, widths)
    x = torch.randn(2, *shape)
    code = encoder(x)
    assert code.shape == (2, 6)
    decoded = decoder(code[:, :3])
    assert decoded.shape == x.shape
    decoded.square().sum().backward()
    for module in (encoder, decoder):
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            assert bool(torch.isfinite(parameter.grad).all()), name


def test_the_memory_order_of_fields_does_not_change_the_result():
    encoder, _ = build_networks((3, 9, 14), 2, "conv", (4, 4))
    x = torch.randn(5, 3, 9, 14)
    torch.testing.assert_close(encoder(x), encoder(x.contiguous(memory_format=torch.channels_last)))


def test_widths_set_the_size():
    assert parameter_count(*build_networks((10,), 2, "mlp", (8,))) == (10 * 8 + 8) + (8 * 4 + 4) + (2 * 8 + 8) + (
        8 * 10 + 10
    )
    small, large = (parameter_count(*build_networks((3, 16, 16), 2, "conv", w)) for w in ((4,), (8, 8)))
    assert small < large
    frozen = nn.Linear(3, 3).requires_grad_(False)
    assert parameter_count(frozen) == 0


def test_start_confident_sets_the_log_variances_only():
    encoder, _ = build_networks((10,), 2, "mlp")
    before = encoder[-1].bias[:2].clone()
    start_confident(encoder, 2, log_var=-3.0)
    torch.testing.assert_close(encoder[-1].bias, torch.cat([before, torch.full((2,), -3.0)]))
    unknown = nn.Linear(4, 7)
    weights = unknown.weight.clone()
    start_confident(unknown, 2)
    assert torch.equal(unknown.weight, weights)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (-1, 4), (1, 2, 3, 4, 5), (2.5,), 10, None, "ab"])
def test_bad_input_shape(shape):
    with pytest.raises(ValueError, match="input_shape must be"):
        check_input_shape(shape)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((10,), 2, "resnet"), "network must be 'auto', 'mlp', 'conv' or a pair of modules, got 'resnet'"),
        (((10,), 2, "conv"), "network='conv' needs input_shape"),
        (((10,), 0), "latent_dim must be an integer >= 1, got 0"),
        (((10,), 2, "mlp", ()), "widths must be a non-empty sequence of positive integers"),
        (((10,), 2, "mlp", (8, 0)), "widths must be"),
        (((10,), 2, "mlp", (8.5,)), "widths must be"),
        (((10,), 2, "mlp", 8), "widths must be"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_networks(*arguments)
