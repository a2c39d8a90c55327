// Snapshots into the units of a network, in one pass over memory and one parallel region.
#include <algorithm>

#include "kernels.h"
#include "threads.h"

namespace gmvae::GMVAE_ISA {
namespace {

constexpr std::int64_t kBlock = 256;  // cells that lie in the first cache between computing and scattering

template <typename T>
void vector_row(const NormaliseArgs<T>& a, const T* x, T* out) {
  for (std::int64_t j = 0; j < a.channels; ++j) out[j] = (x[j] - a.offset[j]) / a.scale[j];
}

// `size` cells of a channel, from `first` on.
template <typename T>
void cells(const NormaliseArgs<T>& a, const T* x, std::int64_t channel, std::int64_t first, std::int64_t size, T* out) {
  const T scale = a.scale[channel];
  const T* const from = x + channel * a.cells + first;
  const T* const offset = a.offset + channel * a.cells + first;
  for (std::int64_t p = 0; p < size; ++p) out[p] = (from[p] - offset[p]) / scale;
  if (!a.mask) return;
  for (std::int64_t p = 0; p < size; ++p) out[p] = a.mask[first + p] ? out[p] : T(0);
}

template <typename T>
void channels_last_row(const NormaliseArgs<T>& a, const T* x, T* out) {
  T block[kBlock];
  for (std::int64_t first = 0; first < a.cells; first += kBlock) {
    const std::int64_t size = std::min(kBlock, a.cells - first);
    for (std::int64_t c = 0; c < a.channels; ++c) {
      cells(a, x, c, first, size, block);
      for (std::int64_t p = 0; p < size; ++p) out[(first + p) * a.channels + c] = block[p];
    }
  }
}

}  // namespace

template <typename T>
void normalise(const NormaliseArgs<T>& a, int threads) {
  const std::int64_t size = a.channels * a.cells;
  for_each_range(a.n, a.n * size, threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const T* const x = a.x + i * size;
      T* const out = a.out + i * size;
      if (a.cells == 1 && !a.mask) {
        vector_row(a, x, out);
      } else if (a.channels_last) {
        channels_last_row(a, x, out);
      } else {
        for (std::int64_t c = 0; c < a.channels; ++c) cells(a, x, c, 0, a.cells, out + c * a.cells);
      }
    }
  });
}

template void normalise<float>(const NormaliseArgs<float>&, int);
template void normalise<double>(const NormaliseArgs<double>&, int);

}  // namespace gmvae::GMVAE_ISA
