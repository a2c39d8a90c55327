"""The GM-VAE as a scikit-learn estimator: transformer, clusterer and density model in one.

Needs scikit-learn (``pip install 'gmvae_fast[baselines]'``); everything else of the package does without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast._checks import nearest
from gmvae_fast._optional import require
from gmvae_fast.model import GMVAE
from gmvae_fast.networks import check_input_shape
from gmvae_fast.train_config import TrainConfig
from gmvae_fast.training import fit

require("sklearn", "GMVAEEstimator", "baselines")

from sklearn.base import (  # noqa: E402 - after the message that says how to get it
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    DensityMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state  # noqa: E402
from sklearn.utils.validation import check_is_fitted, validate_data  # noqa: E402

Rows = npt.NDArray[np.float32]
_OWN = ("epochs", "batch_size", "learning_rate", "seed")


class GMVAEEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, DensityMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """Gaussian-mixture VAE behind scikit-learn's methods, for pipelines, searches and cross-validation.

    Parameters
    ----------
    n_components : int
        Components of the mixture.
    latent_dim : int
    input_shape : sequence of int, optional
        Shape of one snapshot, (channels, *grid), for rows that are flattened fields; default (features,). X may also be
        given as [N, *input_shape].
    network, widths, covariance_type, learn_noise
        As for `gmvae_fast.GMVAE`.
    epochs, batch_size, learning_rate
        As for `gmvae_fast.TrainConfig`.
    train_options : mapping, optional
        Further fields of `TrainConfig` by name, such as ``{"scheme": "joint", "beta": 2.0}``.
    n_samples : int
        Draws from each posterior in `score_samples`.
    random_state : int, RandomState or None
        Weights, batches and draws; None takes NumPy's global generator.

    Attributes
    ----------
    model_ : GMVAE
    history_ : History
    labels_ : int [N]
        Most probable component of each training row.
    weights_ [K], means_ [K, D]
        Of the mixture.
    n_features_in_, n_iter_ : int
        Columns seen in `fit`; epochs.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> X = np.random.default_rng(0).normal(size=(64, 6)) + 5 * (np.arange(64) % 2)[:, None]
    >>> pipeline = make_pipeline(StandardScaler(), GMVAEEstimator(2, widths=(8,), epochs=10, random_state=0))
    >>> pipeline.fit_transform(X).shape
    (64, 2)
    """

    def __init__(
        self,
        n_components: int = 3,
        latent_dim: int = 2,
        *,
        input_shape: Sequence[int] | None = None,
        network: Any = "auto",
        widths: Sequence[int] | None = None,
        covariance_type: str = "diag",
        learn_noise: bool = False,
        epochs: int = 200,
        batch_size: int = 64,
        learning_rate: float = 2e-3,
        train_options: Mapping[str, Any] | None = None,
        n_samples: int = 8,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.latent_dim = latent_dim
        self.input_shape = input_shape
        self.network = network
        self.widths = widths
        self.covariance_type = covariance_type
        self.learn_noise = learn_noise
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.train_options = train_options
        self.n_samples = n_samples
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> GMVAEEstimator:
        """Train on rows X [N, features] or snapshots [N, *input_shape]; ``y`` is ignored.

        Raises
        ------
        ValueError, TypeError
            For NaN or infinity, fewer rows than components, columns that are not those of ``input_shape``, settings
            outside their range.
        TrainingDiverged
            When the loss stops being finite.
        """
        rows = self._rows(X, reset=True)
        shape = self._shape
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        config = self._config(seed)
        model = GMVAE(
            shape,
            self.latent_dim,
            self.n_components,
            network=self.network,
            widths=self.widths,
            covariance_type=self.covariance_type,
            learn_noise=self.learn_noise,
            seed=seed,
        )
        self.history_ = fit(model, rows.reshape(-1, *shape), config, sample_weight=sample_weight, progress=False)
        self.model_, self.n_iter_ = model, config.epochs
        self.labels_ = model.predict(rows.reshape(-1, *shape))
        self._n_features_out = self.latent_dim
        return self

    def fit_predict(self, X: Any, y: Any = None, **fit_params: Any) -> npt.NDArray[np.int64]:
        """`fit`, then the component of each row [N]."""
        labels: npt.NDArray[np.int64] = self.fit(X, **fit_params).labels_
        return labels

    def transform(self, X: Any) -> Rows:
        """Posterior means [N, latent_dim]."""
        latents: Rows = self._fitted().embed(self._snapshots(X)).mean
        return latents

    def inverse_transform(self, X: Any) -> Rows:
        """Decode latents [N, latent_dim] into rows [N, features] in data units."""
        model = self._fitted()
        latents = np.asarray(X, dtype=np.float32)
        if latents.ndim != 2 or latents.shape[1] != self.latent_dim or not np.isfinite(latents).all():
            raise ValueError(f"X must be finite latents [N, {self.latent_dim}], got shape {latents.shape}")
        rows: Rows = model.from_latents(latents).reshape(len(latents), -1)
        return rows

    def predict(self, X: Any) -> npt.NDArray[np.int64]:
        """Most probable component of each row [N]."""
        labels: npt.NDArray[np.int64] = self._fitted().predict(self._snapshots(X))
        return labels

    def predict_proba(self, X: Any) -> Rows:
        """Responsibilities [N, n_components]."""
        gamma: Rows = self._fitted().predict_proba(self._snapshots(X))
        return gamma

    def score_samples(self, X: Any) -> Rows:
        """Evidence lower bound of each row [N] in nats, on normalised data; the same draws in every call."""
        bound: Rows = self._fitted().elbo(self._snapshots(X), n_samples=self.n_samples)
        return bound

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of `score_samples`; higher is better."""
        return float(np.mean(self.score_samples(X), dtype=np.float64))

    def sample(self, n_samples: int = 1, component: int | None = None) -> tuple[Rows, npt.NDArray[np.int64]]:
        """Draw rows [n, features] and their components [n], of one component if it is given."""
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        fields, labels = self._fitted().sample(n_samples, component, seed=seed)
        fields, labels = np.asarray(fields), np.asarray(labels)
        return fields.reshape(len(fields), -1), labels

    # -- the fitted mixture ----------------------------------------------------------------------------------

    @property
    def weights_(self) -> npt.NDArray[np.float32]:
        """Mixture weights [K]."""
        weights: npt.NDArray[np.float32] = self._fitted().prior.get().log_weights.exp().cpu().numpy()
        return weights

    @property
    def means_(self) -> npt.NDArray[np.float32]:
        """Component means [K, D]."""
        means: npt.NDArray[np.float32] = self._fitted().prior.get().means.cpu().numpy()
        return means

    # -- checks ----------------------------------------------------------------------------------------------

    @property
    def _shape(self) -> tuple[int, ...]:
        return (self.n_features_in_,) if self.input_shape is None else check_input_shape(self.input_shape)

    def _config(self, seed: int) -> TrainConfig:
        options = dict(self.train_options or {})
        for name in options:
            known = [field for field in TrainConfig.__dataclass_fields__ if field not in _OWN]
            if name not in known:
                raise ValueError(f"train_options must name fields of TrainConfig, got {name!r}{nearest(name, known)}")
        return TrainConfig(
            epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate, seed=seed, **options
        )

    def _fitted(self) -> GMVAE:
        check_is_fitted(self, "model_")
        model: GMVAE = self.model_
        return model

    def _snapshots(self, X: Any) -> Rows:
        self._fitted()
        return self._rows(X, reset=False).reshape(-1, *self._shape)

    def _rows(self, X: Any, *, reset: bool) -> Rows:
        """X as float32 [N, features], finite; its width and names remembered or compared."""
        if self.input_shape is not None and getattr(X, "ndim", 2) > 2:
            shape = check_input_shape(self.input_shape)
            if tuple(X.shape[1:]) != shape:
                raise ValueError(f"X must be [N, features] or [N, {', '.join(map(str, shape))}], got {tuple(X.shape)}")
            X = np.asarray(X).reshape(len(X), -1)
        least = max(2, self.n_components) if reset else 1
        rows: Rows = validate_data(self, X, dtype=np.float32, reset=reset, ensure_min_samples=least)
        if self.input_shape is not None:
            expected = int(np.prod(check_input_shape(self.input_shape)))
            if rows.shape[1] != expected:
                raise ValueError(
                    f"X must have {expected} columns for input_shape {tuple(self.input_shape)}, got {rows.shape[1]}"
                )
        return rows

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
