// One thread an entry (c, j) of the mixture's gradient.
#include "cuda_check.h"
#include "gmvae/launch.h"
#include "gmvae/mixture_math.h"

namespace gmvae {
namespace {

constexpr int kThreads = 128;

template <typename T>
__global__ void mixture_gradient_kernel(MixtureGradientArgs<T> a) {
  const std::int64_t i = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= a.k * a.d) return;
  const std::int64_t c = i / a.d, j = i % a.d;
  const double inv_var = exp(-static_cast<double>(a.log_vars[i]));
  const auto g = math::component_gradient(a.moments, a.sets, a.sign, a.k, a.d, c, j, inv_var);
  if (j == 0) a.grad_log_weights[c] = static_cast<T>(g.weight);
  a.grad_means[i] = static_cast<T>(g.mean);
  a.grad_log_vars[i] = static_cast<T>(g.log_var);
}

}  // namespace

template <typename T>
void mixture_gradient_cuda(const MixtureGradientArgs<T>& a, void* stream) {
  const auto blocks = static_cast<unsigned>((a.k * a.d + kThreads - 1) / kThreads);
  if (blocks == 0) return;
  mixture_gradient_kernel<T><<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(a);
  GMVAE_CUDA_CHECK(cudaGetLastError());
}

template void mixture_gradient_cuda<float>(const MixtureGradientArgs<float>&, void*);
template void mixture_gradient_cuda<double>(const MixtureGradientArgs<double>&, void*);

}  // namespace gmvae
