#pragma once
// Per-element mathematics of a Gaussian mixture: the only home of these formulas in native code.
// V is float or double (a CUDA thread, one row) or a vector of rows (a CPU lane group); S is the scalar type.
//
// Notation: q(z|x) = N(m, diag s2) with s2 = exp(lv); component c = N(mu_c, diag var_c), iv = 1 / var_c.
//   energy_c   = sum_j (s2_j + (m_j - mu_cj)^2) iv_cj           (s2 = 0 for a point)
//   offset_c   = log pi_c - 1/2 sum_j log var_cj
//   KL_c       = 1/2 [ sum_j log var_cj - sum_j lv_j - D + energy_c ]
//   log pi_c + log N(z; mu_c, var_c) = offset_c - 1/2 energy_c - D/2 log 2 pi
// Dense covariances L L' by their whitening factors A = L^-1, with P = A'A = (L L')^-1:
//   energy_c   = sum_j s2_j P_jj + |A (m - mu_c)|^2
//   offset_c   = log pi_c + sum_j log A_jj,   so that sum_j log var_cj becomes -2 sum_j log A_jj
// Differences are (m - mu)^2, never an expanded product: the expansion loses digits at large offsets.
#include <cstdint>

#include "gmvae/host_device.h"

namespace gmvae::math {

constexpr double kLog2Pi = 1.8378770664093454836;

// One coordinate's share of energy_c.
template <class V, class S>
GMVAE_HD V energy_term(V x, V s2, S mu, S inv_var) {
  const V diff = x - mu;
  return (s2 + diff * diff) * inv_var;
}

template <class V, class S>
GMVAE_HD V energy_term(V x, S mu, S inv_var) {
  const V diff = x - mu;
  return diff * diff * inv_var;
}

// The two parts of a dense covariance's energy: one coordinate of A (x - mu), and one posterior variance.
template <class V>
GMVAE_HD V dense_energy_term(V white) {
  return white * white;
}

template <class V, class S>
GMVAE_HD V dense_trace_term(V s2, S precision) {
  return s2 * precision;
}

// offset_c; the caller sums over the coordinates in float64.
template <class S>
GMVAE_HD S component_offset(S log_weight, double sum_log_var) {
  return static_cast<S>(static_cast<double>(log_weight) - 0.5 * sum_log_var);
}

// Unnormalised log responsibility, up to a constant shared by all components of the row.
template <class V, class S>
GMVAE_HD V component_logit(S offset, V energy) {
  return offset - S(0.5) * energy;
}

// -1/2 (sum_j lv_j + D): what KL_c holds beside its component's terms.
template <class V, class S>
GMVAE_HD V entropy_term(V sum_log_var, S d) {
  return S(-0.5) * (sum_log_var + d);
}

// -D/2 log 2 pi: what log N holds beside offset and energy.
template <class S>
GMVAE_HD S log_normaliser(S d) {
  return S(-0.5 * kLog2Pi) * d;
}

// log pi_c + KL_c + log N_c without the terms shared by all components: offset_c cancels, half the difference of
// energies remains.
template <class V>
GMVAE_HD V density_gap(V kl_energy, V energy) {
  return (kl_energy - energy) / 2;
}

// d KL_mix / d logit_c for responsibilities of a given point; mean_gap = sum_c gamma_c gap_c.
template <class V>
GMVAE_HD V responsibility_gradient(V gamma, V gap, V mean_gap) {
  return gamma * (gap - mean_gap);
}

// Gradient with respect to logit_c of sum_c G_c log_resp_c + g log_prob; excess = sum_c G_c - g.
template <class V>
GMVAE_HD V logit_gradient(V grad_resp, V gamma, V excess) {
  return grad_resp - gamma * excess;
}

// d KL_mix / d lv_j for one row: precision = sum_c gamma_c iv_cj.
template <class V>
GMVAE_HD V grad_log_var(V s2, V precision) {
  return (s2 * precision - 1) / 2;
}

// Gradient of sum_i w_i (offset_c - 1/2 energy_c) with respect to the mixture, from the moments of the weights
// about mu_c: weight = sum w, first = sum w (x - mu), second = sum w (s2 + (x - mu)^2).
template <class S>
GMVAE_HD S grad_component_mean(S first, S inv_var) {
  return first * inv_var;
}

template <class S>
GMVAE_HD S grad_component_log_var(S weight, S second, S inv_var) {
  return (second * inv_var - weight) / 2;
}

// Both for entry (c, j) of the moments of `sets` weights (launch.h, MixtureGradientArgs), in float64.
struct ComponentGradient {
  double weight, mean, log_var;
};

GMVAE_HD ComponentGradient component_gradient(const double* moments, int sets, double sign, std::int64_t k,
                                              std::int64_t d, std::int64_t c, std::int64_t j, double inv_var) {
  const std::int64_t first = k + c * d + j, second = first + k * d, size = k * (2 * d + 1);
  const double weight = sign * moments[c] + (sets == 2 ? moments[size + c] : 0);
  const double f = sign * moments[first] + (sets == 2 ? moments[size + first] : 0);
  const double q = sign * moments[second] + (sets == 2 ? moments[size + second] : 0);
  return {weight, grad_component_mean(f, inv_var), grad_component_log_var(weight, q, inv_var)};
}

}  // namespace gmvae::math
