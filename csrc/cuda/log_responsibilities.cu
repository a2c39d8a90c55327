#include "log_responsibilities.h"

#include "kernel.h"
#include "reduce.h"

namespace gmvae {
namespace {

template <class Row, typename T>
__global__ void __launch_bounds__(gpu::kThreads) forward_kernel(LogRespArgs<T> a, gpu::LogRespPlan plan) {
  gpu::log_responsibilities<Row>(gpu::Block{}, a, plan, gpu::dynamic_shared<T>());
}

template <class Row, typename T>
__global__ void __launch_bounds__(gpu::kThreads) grad_z_kernel(LogRespBackwardArgs<T> a, gpu::RowPlan plan) {
  gpu::log_responsibilities_grad_z<Row>(gpu::Block{}, a, plan, gpu::dynamic_shared<T>());
}

template <bool kDense, typename T>
__global__ void __launch_bounds__(gpu::kThreads) moments_kernel(LogRespBackwardArgs<T> a, gpu::MomentsPlan plan) {
  gpu::add_moments<kDense, gpu::LogitGradientWeights<T>>(gpu::Block{}, a, plan, 0, a.workspace,
                                                         gpu::dynamic_shared<T>());
}

}  // namespace

template <typename T>
void log_responsibilities_cuda(const LogRespArgs<T>& a, void* stream) {
  if (a.n == 0) return;  // an empty grid is a launch error
  gpu::with_row<T>(a.mixture, [&](auto type) {
    using Row = typename decltype(type)::type;
    const gpu::LogRespPlan plan = gpu::plan_log_responsibilities<Row>(a, gpu::kRowShared);
    gpu::launch_rows(forward_kernel<Row, T>, a.n, plan.rows, plan.shared, stream, a, plan);
  });
}

template <typename T>
void log_responsibilities_backward_cuda(const LogRespBackwardArgs<T>& a, void* stream) {
  if (a.grad_z && a.n > 0) {
    gpu::with_row<T>(a.mixture, [&](auto type) {
      using Row = typename decltype(type)::type;
      const gpu::RowPlan plan = gpu::plan_rows<Row>(a.mixture, {a.z, a.grad_z}, gpu::kRowShared);
      gpu::launch_rows(grad_z_kernel<Row, T>, a.n, plan, plan.shared, stream, a, plan);
    });
  }
  if (!a.moments) return;
  const gpu::MomentsPlan plan = gpu::plan_logit_moments(a, gpu::kMomentShared);
  const bool diagonal = a.mixture.covariance == Covariance::kDiagonal;
  auto* const kernel = diagonal ? moments_kernel<false, T> : moments_kernel<true, T>;
  if (plan.blocks > 0) gpu::launch(kernel, plan.blocks, gpu::kThreads, plan.shared, stream, a, plan);
  gpu::launch_reduce(a.workspace, plan.blocks, gpu::moments_of(a.mixture), a.moments, nullptr, stream);
}

template void log_responsibilities_cuda<float>(const LogRespArgs<float>&, void*);
template void log_responsibilities_cuda<double>(const LogRespArgs<double>&, void*);
template void log_responsibilities_backward_cuda<float>(const LogRespBackwardArgs<float>&, void*);
template void log_responsibilities_backward_cuda<double>(const LogRespBackwardArgs<double>&, void*);

}  // namespace gmvae
