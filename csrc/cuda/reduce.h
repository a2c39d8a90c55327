#pragma once
#include "kernel.h"

namespace gmvae::gpu {

// Stage 2 of the moments: adds the partial sums of `count` blocks in a fixed order. Without rows everything becomes 0.
void launch_reduce(const double* partials /* [count, sums + 1] */, std::int64_t count, std::int64_t sums,
                   double* moments /* [sums] */, double* log_evidence /* [1] or null */, void* stream);

}  // namespace gmvae::gpu
