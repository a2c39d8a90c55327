#include "mixture_kl.h"

#include "kernel.h"

namespace gmvae {
namespace {

template <class Row, bool kGrad, typename T>
__global__ void __launch_bounds__(gpu::kThreads) exact_kernel(MixtureKlArgs<T> a, gpu::RowPlan plan) {
  gpu::mixture_kl_exact<kGrad, Row>(gpu::Block{}, a, plan, gpu::dynamic_shared<T>());
}

template <class Row, typename T>
__global__ void __launch_bounds__(gpu::kThreads) assigned_kernel(MixtureKlArgs<T> a, gpu::RowPlan plan) {
  gpu::mixture_kl_assigned<Row>(gpu::Block{}, a, plan, gpu::dynamic_shared<T>());
}

}  // namespace

template <typename T>
void mixture_kl_cuda(const MixtureKlArgs<T>& a, void* stream) {
  if (a.n == 0) return;  // an empty grid is a launch error
  gpu::with_row<T>(a.mixture, [&](auto type) {
    using Row = typename decltype(type)::type;
    const gpu::RowPlan plan = gpu::plan_rows<Row>(
        a.mixture, {a.mean, a.log_var, a.z, a.grad_mean, a.grad_log_var, a.grad_z}, gpu::kRowShared);
    if constexpr (Row::kTables) {
      if (a.assignment == Assignment::kExact) {
        if (a.grad_mean) return gpu::launch_rows(exact_kernel<Row, true, T>, a.n, plan, plan.shared, stream, a, plan);
        if constexpr (!Row::kDense) {  // the other kernel does as well for values alone, and compiles once
          return gpu::launch_rows(exact_kernel<Row, false, T>, a.n, plan, plan.shared, stream, a, plan);
        }
      }
    }
    gpu::launch_rows(assigned_kernel<Row, T>, a.n, plan, plan.shared, stream, a, plan);
  });
}

template void mixture_kl_cuda<float>(const MixtureKlArgs<float>&, void*);
template void mixture_kl_cuda<double>(const MixtureKlArgs<double>&, void*);

}  // namespace gmvae
