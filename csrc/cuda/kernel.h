#pragma once
// Launch helper: shared memory above the default, a grid no larger than what runs at once, status as an exception.
// Neither allocates nor synchronises, so a launch can be captured in a graph.
#include <cuda_runtime.h>

#include <algorithm>

#include "cuda_check.h"
#include "plan.h"

namespace gmvae::gpu {

template <typename T>
GMVAE_DEVICE T* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char bytes[];
  return reinterpret_cast<T*>(bytes);
}

inline std::int64_t multiprocessors() {
  int device = 0, count = 0;
  GMVAE_CUDA_CHECK(cudaGetDevice(&device));
  GMVAE_CUDA_CHECK(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
  return count;
}

template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), std::int64_t blocks, int threads, std::int64_t shared, void* stream,
            const Arguments&... arguments) {
  if (shared > kRowShared) {
    GMVAE_CUDA_CHECK(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)));
  }
  kernel<<<static_cast<unsigned>(blocks), threads, static_cast<std::size_t>(shared),
           static_cast<cudaStream_t>(stream)>>>(arguments...);
  GMVAE_CUDA_CHECK(cudaGetLastError());
}

// For kernels whose blocks walk over the rows: each block fills its tables once, so no more blocks than run at once.
template <typename... Parameters, typename... Arguments>
void launch_rows(void (*kernel)(Parameters...), std::int64_t n, const RowPlan& plan, std::int64_t shared, void* stream,
                 const Arguments&... arguments) {
  const std::int64_t rows = kThreads / plan.lanes, processors = multiprocessors();
  std::int64_t blocks = (n + rows - 1) / rows;
  if (blocks > processors) {
    int each = 0;
    GMVAE_CUDA_CHECK(
        cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, kernel, kThreads, static_cast<std::size_t>(shared)));
    blocks = std::min<std::int64_t>(blocks, processors * std::max(each, 1));
  }
  launch(kernel, blocks, kThreads, shared, stream, arguments...);
}

}  // namespace gmvae::gpu
