// K x D work after one over N rows: plain loops, one build for every instruction set.
#include <cmath>

#include "gmvae/launch.h"
#include "gmvae/mixture_math.h"

namespace gmvae {

template <typename T>
void mixture_gradient_cpu(const MixtureGradientArgs<T>& a) {
  for (std::int64_t c = 0; c < a.k; ++c) {
    for (std::int64_t j = 0; j < a.d; ++j) {
      const std::int64_t i = c * a.d + j;
      const double inv_var = std::exp(-static_cast<double>(a.log_vars[i]));
      const auto g = math::component_gradient(a.moments, a.sets, a.sign, a.k, a.d, c, j, inv_var);
      a.grad_log_weights[c] = static_cast<T>(g.weight);
      a.grad_means[i] = static_cast<T>(g.mean);
      a.grad_log_vars[i] = static_cast<T>(g.log_var);
    }
  }
}

template void mixture_gradient_cpu<float>(const MixtureGradientArgs<float>&);
template void mixture_gradient_cpu<double>(const MixtureGradientArgs<double>&);

}  // namespace gmvae
