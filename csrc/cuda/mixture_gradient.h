#pragma once
#include "rows.h"

namespace gmvae::gpu {

// A thread per entry (c, j) of the gradient of a diagonal mixture.
template <class B, typename T>
GMVAE_DEVICE void mixture_gradient(const B& block, const MixtureGradientArgs<T>& a) {
  const std::int64_t i = block.index() * block.threads() + block.thread();
  if (i >= a.k * a.d) return;
  const std::int64_t c = i / a.d, j = i % a.d;
  const double inv_var = exp_of(-static_cast<double>(a.log_vars[i]));
  const auto g = math::component_gradient(a.moments, a.sets, a.sign, a.k, a.d, c, j, inv_var);
  if (j == 0) a.grad_log_weights[c] = static_cast<T>(g.weight);
  a.grad_means[i] = static_cast<T>(g.mean);
  a.grad_log_vars[i] = static_cast<T>(g.log_var);
}

}  // namespace gmvae::gpu
