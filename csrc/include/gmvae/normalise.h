#pragma once
// Snapshots into the units of a network.
#include <cstdint>

namespace gmvae {

template <typename T>
struct NormaliseArgs {
  const T* x;          // [n, channels, cells]
  const T* offset;     // [channels, cells]
  const T* scale;      // [channels]
  const bool* mask;    // [cells], or null: all cells count
  T* out;              // [n, channels, cells], or [n, cells, channels]
  bool channels_last;  // of `out`
  std::int64_t n, channels, cells;
};

// out = (x - offset) / scale, 0 outside the mask.
template <typename T>
void normalise_cpu(const NormaliseArgs<T>& args, int threads);

}  // namespace gmvae
