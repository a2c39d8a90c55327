#include "mixture_gradient.h"

#include "kernel.h"

namespace gmvae {
namespace {

template <typename T>
__global__ void __launch_bounds__(gpu::kThreads) mixture_gradient_kernel(MixtureGradientArgs<T> a) {
  gpu::mixture_gradient(gpu::Block{}, a);
}

}  // namespace

template <typename T>
void mixture_gradient_cuda(const MixtureGradientArgs<T>& a, void* stream) {
  const std::int64_t blocks = (a.k * a.d + gpu::kThreads - 1) / gpu::kThreads;
  if (blocks == 0) return;
  gpu::launch(mixture_gradient_kernel<T>, blocks, gpu::kThreads, 0, stream, a);
}

template void mixture_gradient_cuda<float>(const MixtureGradientArgs<float>&, void*);
template void mixture_gradient_cuda<double>(const MixtureGradientArgs<double>&, void*);

}  // namespace gmvae
