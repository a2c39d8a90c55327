"""The Gaussian-mixture variational autoencoder."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gmvae_fast import ops
from gmvae_fast._batches import Batches
from gmvae_fast._checks import check_integer
from gmvae_fast.mixture import MixturePrior, MixtureTuple, sample_mixture
from gmvae_fast.networks import ConvEncoder, build_networks, channels_last, start_confident
from gmvae_fast.normalisation import Normalised
from gmvae_fast.tensor_files import ModelFileError, checksum, read_tensors, write_tensors

FORMAT = "gmvae_fast.model"
#: 2: also "gaps". A file is of the oldest version that can hold it.
FORMAT_VERSION = 2
_LOG_2PI = math.log(2 * math.pi)
_LOG_VAR_RANGE = (-20.0, 10.0)  # posterior variances between 2e-9 and 2e4


@dataclass(frozen=True)
class Embedding:
    """Posteriors of snapshots: ``mean`` [N, D] and ``log_var`` [N, D]; tensors where the data are one, else arrays."""

    mean: Any
    log_var: Any


@dataclass(frozen=True)
class LossTerms:
    """Per-snapshot terms [N] of the negative ELBO, in nats, on normalised snapshots; posteriors and samples [N, D]."""

    reconstruction: Tensor
    kl: Tensor
    mean: Tensor
    log_var: Tensor
    z: Tensor


class GMVAE(Normalised):
    """Variational autoencoder with a Gaussian-mixture prior (Fan et al. 2025, arXiv 2511.21883).

    Parameters
    ----------
    input_shape : sequence of int
        Shape of one snapshot: (features,) or (channels, *grid).
    latent_dim : int
        D.
    n_components : int
        K.
    network : {"auto", "mlp", "conv"} or (encoder, decoder)
        "auto" is "mlp" for vectors and "conv" for fields. Own modules map [N, *input_shape] to [N, 2 D] (means, then
        log variances) and [N, D] to [N, *input_shape], in network units.
    widths : sequence of int, optional
        Hidden widths (mlp) or channels (conv) of built-in networks, see `gmvae_fast.networks.build_networks`.
    covariance_type : {"diag", "spherical", "tied", "full"}
        Of the mixture components.
    learn_noise : bool
        Learn the decoder's variance tau^2 in closed form; otherwise tau^2 = 1 on normalised snapshots.
    seed : int
        Of the initial weights of built-in networks; torch's global generator is left alone.

    Notes
    -----
    Snapshots are normalised inside the model: the training mean (per value) is subtracted and the result divided by
    the training standard deviation (per channel; per feature for vectors), both stored with the model. Outputs are
    in the units of the data. Where the training data have a mask it is stored too: cells outside it are 0 for the
    networks, 0 in outputs, and no part of any loss. A model that was trained with ``on_nan="mask"`` on data with gaps
    takes NaN and infinite values for missing: the encoder sees the mean in their place, and losses leave them out.
    """

    log_noise: Tensor

    def __init__(
        self,
        input_shape: Sequence[int],
        latent_dim: int = 2,
        n_components: int = 3,
        *,
        network: str | tuple[nn.Module, nn.Module] = "auto",
        widths: Sequence[int] | None = None,
        covariance_type: str = "diag",
        learn_noise: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(input_shape)
        self.prior = MixturePrior(n_components, latent_dim, covariance_type)
        n_components, latent_dim = self.prior.n_components, self.prior.latent_dim
        shape, seed = self.input_shape, check_integer("seed", seed)
        if isinstance(network, str):
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed other devices too
                self.encoder, self.decoder = build_networks(shape, latent_dim, network, widths)
                start_confident(self.encoder, latent_dim)
        else:
            self.encoder, self.decoder = _check_modules(network)
        self.config: dict[str, Any] = {
            "input_shape": list(shape),
            "latent_dim": latent_dim,
            "n_components": n_components,
            "network": network if isinstance(network, str) else "custom",
            "widths": None if widths is None else [int(w) for w in widths],
            "covariance_type": covariance_type,
            "learn_noise": bool(learn_noise),
            "seed": seed,
        }
        self.latent_dim, self.n_components = latent_dim, n_components
        self.learn_noise = learn_noise
        self.register_buffer("log_noise", torch.zeros(()))  # log tau^2

    @property
    def channels_last(self) -> bool:
        """Whether the encoder takes fields in this order in memory."""
        return isinstance(self.encoder, ConvEncoder)

    # -- pieces ----------------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and log variance [N, D] of normalised snapshots [N, *input_shape]."""
        out: Tensor = self.encoder(self.filled(x))
        _check_output("encoder", out, (x.shape[0], 2 * self.latent_dim))
        mean, log_var = out.to(x.dtype).split(self.latent_dim, dim=1)  # autocast leaves half precision
        return mean, functional.hardtanh(log_var, *_LOG_VAR_RANGE)  # clamp, with one operator backward in place of four

    def decode(self, z: Tensor) -> Tensor:
        """Normalised snapshots [N, *input_shape] of latents [N, D]; 0 outside the mask, as in `normalise`."""
        out: Tensor = self.decoder(z)
        _check_output("decoder", out, (z.shape[0], *self.input_shape))
        return self._masked(out.to(z.dtype))

    def loss_terms(
        self,
        x: Tensor,
        generator: torch.Generator | None,
        *,
        assignment: str = "exact",
        detach_assignment: bool = False,
        standard_prior: bool = False,
        mixture: MixtureTuple | None = None,
        noise: Tensor | None = None,
    ) -> LossTerms:
        """Terms of the negative ELBO of normalised snapshots, with one reparameterised sample each.

        ``standard_prior`` replaces the mixture by N(0, I) (the warm-up), ``mixture`` by another one. Draws come from
        ``generator``, unless they are given as ``noise`` [N, D].
        """
        if self.channels_last:  # once, for the encoder and for the difference from what is decoded
            x = channels_last(x)
        mean, log_var = self.encode(x)
        if noise is None:
            noise = torch.empty_like(mean).normal_(generator=generator)
        z = mean + torch.exp(0.5 * log_var) * noise
        reconstruction = self._reconstruction(x, z)
        if standard_prior:
            kl = 0.5 * (mean.square() + log_var.exp() - log_var - 1).sum(1)
        else:
            kl = ops.mixture_kl(
                mean,
                log_var,
                *(mixture or self.prior.parameters_tuple),
                assignment=assignment,
                z=z if assignment == "sampled" else None,
                detach_assignment=detach_assignment,
            )
        return LossTerms(reconstruction, kl, mean, log_var, z)

    def _reconstruction(self, x: Tensor, z: Tensor) -> Tensor:
        """-log p(x | z) [N] of normalised snapshots, without the constant."""
        decoded = self.decode(z)
        squares = _squares(decoded, x) if self.gaps is None else self.differences(decoded, x).square()
        constant = 0.5 * self.log_noise * self.known_values(x)
        return torch.addcmul(constant, squares.sum(tuple(range(1, x.ndim))), torch.exp(-self.log_noise), value=0.5)

    def _constant(self, x: Tensor) -> Tensor | float:
        """-log of the normalising factor of p(x | z) at tau = 1."""
        return 0.5 * _LOG_2PI * self.known_values(x)

    # -- use -------------------------------------------------------------------------------------------------

    def embed(self, data: Any, *, batch_size: int = 256) -> Embedding:
        """Posterior means and log variances of snapshots in data units: [N, *input_shape] -> [N, D] each.

        Here and below ``data`` is an array, a tensor, a SnapshotSource or a torch Dataset; a tensor in gives tensors
        out, on its device, everything else arrays.
        """
        source = self._source(data)
        mean, log_var = self.embed_tensors(source, batch_size)
        return Embedding(self._like(source, mean), self._like(source, log_var))

    def embed_tensors(self, source: Batches, batch_size: int = 256) -> tuple[Tensor, Tensor]:
        """`embed` as tensors on the model's device."""
        both = self._map(source, batch_size, lambda x: torch.stack(self.encode(self.normalise(x)), 1))
        return both[:, 0].contiguous(), both[:, 1].contiguous()

    def predict_proba(self, data: Any, *, batch_size: int = 256) -> Any:
        """Responsibilities gamma [N, K] of the exact assignment."""
        source = self._source(data)
        with torch.no_grad():
            return self._like(source, self.prior.responsibilities(*self.embed_tensors(source, batch_size)))

    def predict(self, data: Any, *, batch_size: int = 256) -> Any:
        """Component with the largest responsibility [N].

        Raises
        ------
        ValueError
            For snapshots that have none, because they hold NaN or inf; of those, `embed` and `predict_proba` are NaN.
        """
        gamma = self.predict_proba(data, batch_size=batch_size)
        undefined = (gamma != gamma).any(1).nonzero()
        first = undefined[0] if isinstance(undefined, tuple) else undefined.flatten()  # as numpy and torch give it
        if len(first):
            raise ValueError(
                f"data must be finite in float32, got NaN or inf in {len(first)} of {len(gamma)} snapshots, the first "
                f"is {int(first[0])}; a model that was trained with on_nan='mask' takes them for missing values"
            )
        return gamma.argmax(1)

    def reconstruct(self, data: Any, *, batch_size: int = 256) -> Any:
        """Decoded posterior means, in data units: [N, *input_shape]."""
        source = self._source(data)

        def decoded(x: Tensor) -> Tensor:  # fields leave the device batch by batch: all together may not fit there
            return self.denormalise(self.decode(self.encode(self.normalise(x))[0])).to(source.home)

        return self._like(source, self._map(source, batch_size, decoded))

    def elbo(self, data: Any, *, batch_size: int = 256, n_samples: int = 8, seed: int = 0) -> Any:
        """Evidence lower bound of each snapshot [N], in nats on normalised snapshots; mean over ``n_samples`` draws.

        The Gaussian constant -(d_x / 2) log 2 pi is part of it, beta is not. ``seed`` fixes the draws, for a given
        ``batch_size``.
        """
        n_samples = check_integer("n_samples", n_samples, 1)
        source = self._source(data)
        generator = torch.Generator(self.device).manual_seed(check_integer("seed", seed))

        def bound(x: Tensor) -> Tensor:
            x = self.normalise(x)
            draws = [self.loss_terms(x, generator) for _ in range(n_samples)]
            return -torch.stack([t.reconstruction + t.kl for t in draws]).mean(0) - self._constant(x)

        return self._like(source, self._map(source, batch_size, bound))

    def score_samples(self, data: Any, *, batch_size: int = 256, n_samples: int = 8, seed: int = 0) -> Any:
        """`elbo`, by scikit-learn's name."""
        return self.elbo(data, batch_size=batch_size, n_samples=n_samples, seed=seed)

    def log_evidence(self, data: Any, *, batch_size: int = 256, n_samples: int = 64, seed: int = 0) -> Any:
        r"""Importance-weighted lower bound of log p(x) of each snapshot [N], in the units of `elbo`.

        .. math:: \log \frac 1 S \sum_s \frac{p(x | z_s) \sum_c \pi_c p(z_s | c)}{q(z_s | x)}, \quad z_s \sim q(z | x)

        (Burda, Grosse & Salakhutdinov 2015, arXiv 1509.00519). Its expectation is not below that of `elbo`, rises with
        ``n_samples`` and converges to log p(x) of the model. ``seed`` fixes the draws, for a given ``batch_size``.
        """
        n_samples = check_integer("n_samples", n_samples, 1)
        source = self._source(data)
        generator = torch.Generator(self.device).manual_seed(check_integer("seed", seed))

        def bound(x: Tensor) -> Tensor:
            x = self.normalise(x)
            mean, log_var = self.encode(x)
            total = torch.full_like(mean[:, 0], -math.inf, dtype=torch.float64)
            for _ in range(n_samples):  # one sample at a time: fields of all of them may not fit
                noise = torch.empty_like(mean).normal_(generator=generator)
                z = mean + torch.exp(0.5 * log_var) * noise
                posterior = -0.5 * (noise.square() + log_var + _LOG_2PI).double().sum(1)
                prior = ops.log_responsibilities(z, *self.prior.parameters_tuple)[1]
                total = torch.logaddexp(total, prior.double() - self._reconstruction(x, z).double() - posterior)
            return (total - math.log(n_samples) - self._constant(x)).to(mean.dtype)

        return self._like(source, self._map(source, batch_size, bound))

    def sample(self, n: int, component: int | None = None, *, seed: int = 0) -> tuple[Any, Any]:
        """New snapshots in data units [n, *input_shape] and their components [n], as arrays.

        ``component`` draws from one regime only. ``seed`` fixes the draw.
        """
        generator = torch.Generator().manual_seed(check_integer("seed", seed))
        z, labels = sample_mixture(self.prior.get(), check_integer("n", n, 1), generator, component)
        return self.from_latents(z).cpu().numpy(), labels.cpu().numpy()

    def from_latents(self, z: Any, *, batch_size: int = 256) -> Any:
        """Decoded latents [N, D], in data units [N, *input_shape]: a tensor where ``z`` is one, else an array."""
        latents = torch.as_tensor(z)
        if latents.ndim != 2 or latents.shape[1] != self.latent_dim or latents.is_complex():
            raise ValueError(
                f"z must be real [N, {self.latent_dim}] (the model's latent_dim), got {tuple(latents.shape)}"
            )
        parts = latents.to(self.offset.dtype).split(check_integer("batch_size", batch_size, 1))

        def decoded(part: Tensor) -> Tensor:  # as in reconstruct
            return self.denormalise(self.decode(part.to(self.device))).to(latents.device)

        fields = self._apply_in_eval(parts, len(latents), decoded)
        return fields if isinstance(z, Tensor) else fields.numpy()

    def _map(self, source: Batches, batch_size: int, function: Callable[[Tensor], Tensor]) -> Tensor:
        batches = source.ordered(check_integer("batch_size", batch_size, 1), self.device)
        return self._apply_in_eval(batches, len(source), function)

    def _apply_in_eval(self, batches: Iterable[Tensor], n: int, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Rows [n, ...] that ``function`` makes of batches, without gradients and in evaluation mode, as found after.

        They go into one tensor: results kept batch by batch would lie between the large blocks that batches leave, and
        pin them. A pass over 2.5 GB then held 1.1 GB.
        """
        was_training, out, start = self.training, None, 0
        self.eval()
        try:
            with torch.no_grad():
                for x in batches:
                    rows = function(x)
                    if out is None:
                        out = rows.new_empty(n, *rows.shape[1:])
                    out[start : start + len(rows)] = rows
                    start += len(rows)
        finally:
            self.train(was_training)
        assert out is not None
        return out

    # -- files -----------------------------------------------------------------------------------------------

    def checksum(self) -> int:
        """CRC-32 of configuration, weights and normalisation: equal for a model and what `load` makes of its file."""
        state = {key: value.detach().cpu().contiguous() for key, value in self.state_dict().items()}
        return checksum(state, self.config)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights, normalisation and configuration as one safetensors file, atomically."""
        version = 1 if self.gaps is None else FORMAT_VERSION
        write_tensors(path, self.state_dict(), {"format": FORMAT, "version": version, "config": self.config})


def load(
    path: str | os.PathLike[str],
    *,
    network: tuple[nn.Module, nn.Module] | None = None,
    device: str | torch.device = "cpu",
) -> GMVAE:
    """Read a model that `GMVAE.save` wrote; nothing in the file is executed.

    Parameters
    ----------
    path : path
    network : (encoder, decoder), optional
        Needed for a model built from own modules, whose code a file does not hold; freshly built, of the same layout.
    device : str or torch.device

    Raises
    ------
    FileNotFoundError
    ModelFileError
        Naming the file and what is wrong with it.
    """
    tensors, header = read_tensors(path, FORMAT, FORMAT_VERSION)
    model = _rebuilt(header.get("config"), network, os.fspath(path), tensors)
    return model.to(device).eval()


def _rebuilt(
    config: Any, network: tuple[nn.Module, nn.Module] | None, where: str, tensors: Mapping[str, Tensor]
) -> GMVAE:
    """The model of a stored configuration, once it is known to fit the ``tensors`` of the file.

    A configuration of a few bytes may describe a model of any size. Built-in networks take over the tensors; own
    modules, which may share some among them, are filled with them.
    """
    if not isinstance(config, dict):
        raise ModelFileError(f"{where}: the model's configuration is missing")
    config = dict(config)
    if config.get("network") == "custom":
        if network is None:
            raise ModelFileError(f"{where}: the model was built from own modules; pass network=(encoder, decoder)")
        config["network"] = network
    elif network is not None:
        raise ValueError(f"network must be left out: {where} holds a model with built-in networks")
    widths = config.get("widths")
    if isinstance(widths, list) and len(widths) > len(tensors):
        raise ModelFileError(f"{where}: {len(tensors)} tensors do not fill a network of {len(widths)} layers")
    try:
        model = _without_memory(config, tensors, where)
        if network is None:
            own = model.state_dict()
            load_state(model, {k: v.to(own[k].dtype) for k, v in tensors.items()}, where, assign=True)
        else:
            model = GMVAE(**config)
            load_state(model, tensors, where)
        return model
    except ModelFileError:
        raise
    except (TypeError, ValueError, RuntimeError, OverflowError) as err:
        raise ModelFileError(f"{where}: the stored configuration does not describe a model ({err})") from err


def _without_memory(config: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str) -> GMVAE:
    """The model on torch's meta device (own modules left out), compared with the tensors by names and shapes."""
    own = not isinstance(config.get("network", "auto"), str)  # own modules are there already
    kept = {k: v.to("meta") for k, v in tensors.items() if not (own and k.startswith(("encoder.", "decoder.")))}
    with torch.device("meta"):
        model = GMVAE(**{**config, "network": (nn.Identity(), nn.Identity())} if own else config)
    load_state(model, kept, where)
    return model


def load_state(model: GMVAE, tensors: Mapping[str, Tensor], where: str, *, assign: bool = False) -> None:
    """Fill ``model``, or let it take over the tensors; missing, superfluous and misshapen ones are reported by name."""
    mask = tensors.get("mask")
    if mask is not None and (mask.shape != model.input_shape[1:] or mask.dtype != torch.bool):
        raise ModelFileError(f"{where}: the mask must be bool {model.input_shape[1:]}, got {tuple(mask.shape)}")
    model.mask = mask if mask is None or assign else mask.to(model.device)
    gaps = tensors.get("gaps")
    if gaps is not None and (gaps.shape != () or gaps.dtype != torch.bool):
        raise ModelFileError(f"{where}: gaps must be one bool, got {gaps.dtype} {tuple(gaps.shape)}")
    model.gaps = gaps if gaps is None or assign else gaps.to(model.device)
    try:
        model.load_state_dict(dict(tensors), assign=assign)
    except RuntimeError as err:
        raise ModelFileError(f"{where}: the tensors do not fit the stored configuration ({err})") from err


def _squares(decoded: Tensor, x: Tensor) -> Tensor:
    """(decoded - x)^2 of two tensors [N, ...], in any order of the axes behind N; backward is one pass over memory."""
    if decoded.ndim > 2 and not decoded.is_contiguous():
        # Channels last, or the gradient would come in another order than that of `decoded`.
        decoded, x = decoded.movedim(1, -1), x.movedim(1, -1)
    return functional.mse_loss(decoded, x, reduction="none")


def _check_output(name: str, value: Tensor, expected: tuple[int, ...]) -> None:
    # Without this a decoder's wrong shape would broadcast silently in the loss.
    if tuple(value.shape) != expected:
        raise ValueError(f"network: the {name} must return shape {expected}, got {tuple(value.shape)}")


def _check_modules(network: Any) -> tuple[nn.Module, nn.Module]:
    try:
        encoder, decoder = network
    except (TypeError, ValueError):
        encoder = decoder = None
    if not isinstance(encoder, nn.Module) or not isinstance(decoder, nn.Module):
        raise TypeError(f"network must be 'auto', 'mlp', 'conv' or a pair of torch modules, got {network!r}")
    return encoder, decoder
