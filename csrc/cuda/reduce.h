#pragma once
#include "kernel.h"

namespace gmvae::gpu {

// Stage 2 of the moments: adds the partial sums of `count` blocks in a fixed order. Without rows everything becomes 0.
void launch_reduce(const double* partials /* [count, partial_size(k, d)] */, std::int64_t count, std::int64_t k,
                   std::int64_t d, double* moments /* [moments_size(k, d)] */, double* log_evidence /* [1] or null */,
                   void* stream);

}  // namespace gmvae::gpu
