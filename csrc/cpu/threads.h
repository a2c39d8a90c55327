#pragma once
// Static splits over threads.
#include <cstdint>

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace gmvae {

// Calls body(part) for every part in [0, parts), each on a thread of its own where OpenMP is in use.
template <class Body>
void for_each_part(int parts, const Body& body) {
#if defined(_OPENMP)
#pragma omp parallel for schedule(static, 1) num_threads(parts) if (parts > 1)
#endif
  for (int part = 0; part < parts; ++part) body(part);
}

}  // namespace gmvae
