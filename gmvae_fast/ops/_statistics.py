"""The sufficient statistics of a Gaussian mixture, as a value that can be added."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class MixtureStatistics:
    """Moments of the responsibilities gamma about ``shift``, in float64; chunks and ranks are merged with ``+``.

    Attributes
    ----------
    weight : Tensor [K]
        sum_i gamma_ic.
    first : Tensor [K, D]
        sum_i gamma_ic (m_i - shift_c).
    second : Tensor [K, D], or [K, D, D] when the statistics were taken with dense covariances
        sum_i gamma_ic [(m_i - shift_c)^2 + s2_i], or sum_i gamma_ic [(m_i - shift_c)(m_i - shift_c)' + diag s2_i];
        the s2 term is absent for points.
    log_evidence : Tensor []
        sum_i logsumexp_c(log pi_c - KL_c) = -sum_i KL_mix; for points sum_i log p(x_i).
    shift : Tensor [K, D]
        The component means at which the statistics were taken. Moments about them cannot cancel, however far
        from the origin the data lie.
    count : int or float
        Number of rows N, or the sum of their weights.
    """

    weight: Tensor
    first: Tensor
    second: Tensor
    log_evidence: Tensor
    shift: Tensor
    count: float

    def about(self, shift: Tensor) -> MixtureStatistics:
        """The same statistics about another ``shift`` [K, D]."""
        if shift.shape != self.shift.shape:
            raise ValueError(f"shift must have shape {tuple(self.shift.shape)}, got {tuple(shift.shape)}")
        step = self.shift - shift.to(self.shift)
        weight = self.weight[:, None]
        if self.second.ndim == 2:
            second = self.second + 2 * step * self.first + weight * step.square()
        else:
            cross = step[:, :, None] * self.first[:, None, :]
            second = self.second + cross + cross.mT + weight[:, :, None] * step[:, :, None] * step[:, None, :]
        return MixtureStatistics(
            weight=self.weight,
            first=self.first + weight * step,
            second=second,
            log_evidence=self.log_evidence,
            shift=self.shift - step,
            count=self.count,
        )

    def __add__(self, other: MixtureStatistics) -> MixtureStatistics:
        if not isinstance(other, MixtureStatistics):
            return NotImplemented
        if other.second.ndim != self.second.ndim:
            raise ValueError("statistics of diagonal and of dense covariances cannot be added")
        other = other.about(self.shift)
        return MixtureStatistics(
            weight=self.weight + other.weight,
            first=self.first + other.first,
            second=self.second + other.second,
            log_evidence=self.log_evidence + other.log_evidence,
            shift=self.shift,
            count=self.count + other.count,
        )
