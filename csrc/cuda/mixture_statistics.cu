#include "mixture_statistics.h"

#include "kernel.h"
#include "reduce.h"

namespace gmvae {
namespace {

template <class Row, typename T>
__global__ void __launch_bounds__(gpu::kThreads) moments_kernel(MomentsArgs<T> a, gpu::MomentsPlan plan, int set) {
  gpu::add_moments<Row::kDense, gpu::ResponsibilityWeights<Row>>(gpu::Block{}, a, plan, set, a.workspace,
                                                                 gpu::dynamic_shared<T>());
}

__global__ void __launch_bounds__(gpu::kReduceGroups* gpu::kWarp)
    reduce_kernel(const double* partials, std::int64_t count, std::int64_t size, double* moments,
                  double* log_evidence) {
  __shared__ double sums[gpu::kReduceGroups * gpu::kWarp];
  gpu::reduce_partials(gpu::Block{}, partials, count, size, moments, log_evidence, sums);
}

}  // namespace

namespace gpu {

void launch_reduce(const double* partials, std::int64_t count, std::int64_t sums, double* moments, double* log_evidence,
                   void* stream) {
  const std::int64_t size = sums + 1;
  launch(reduce_kernel, (size + kWarp - 1) / kWarp, kReduceGroups * kWarp, 0, stream, partials, count, size, moments,
         log_evidence);
}

}  // namespace gpu

std::int64_t moments_workspace_cuda(std::int64_t n, std::int64_t k, std::int64_t d, Covariance covariance) {
  return gpu::moments_workspace_size(n, k, d, covariance);
}

// The sets follow each other on the stream and share the workspace.
template <typename T>
void mixture_statistics_cuda(const MomentsArgs<T>& a, void* stream) {
  gpu::with_row<T>(a.mixture, [&](auto type) {
    using Row = typename decltype(type)::type;
    const std::int64_t size = gpu::moments_of(a.mixture);
    const gpu::MomentsPlan plan = gpu::plan_responsibility_moments<Row>(a, gpu::kMomentShared);
    for (int set = 0; set < moment_sets(a.assignment, a.detach); ++set) {
      if (plan.blocks > 0) {
        gpu::launch(moments_kernel<Row, T>, plan.blocks, gpu::kThreads, plan.shared, stream, a, plan, set);
      }
      gpu::launch_reduce(a.workspace, plan.blocks, size, a.moments + set * size, set == 0 ? a.log_evidence : nullptr,
                         stream);
    }
  });
}

template void mixture_statistics_cuda<float>(const MomentsArgs<float>&, void*);
template void mixture_statistics_cuda<double>(const MomentsArgs<double>&, void*);

}  // namespace gmvae
