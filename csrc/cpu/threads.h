#pragma once
// Static splits over threads.
#include <algorithm>
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

// Entries below which a second thread costs more than it saves.
constexpr std::int64_t kSerialEntries = 1 << 15;

inline int parts_for(std::int64_t entries, int threads) { return entries < kSerialEntries ? 1 : std::max(1, threads); }

// Calls body(begin, end) for ranges that cover the rows.
template <class Body>
void for_each_range(std::int64_t rows, std::int64_t entries, int threads, const Body& body) {
  const int parts = parts_for(entries, threads);
  for_each_part(parts, [&](int part) { body(rows * part / parts, rows * (part + 1) / parts); });
}

// Calls body(item, thread) for every item in [0, items), each as soon as a thread is free: for items of unequal cost
// whose results do not depend on which thread computes them.
template <class Body>
void for_each_item(std::int64_t items, int threads, const Body& body) {
#if defined(_OPENMP)
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1 && items > 1)
  for (std::int64_t item = 0; item < items; ++item) body(item, omp_get_thread_num());
#else
  for (std::int64_t item = 0; item < items; ++item) body(item, 0);
#endif
}

// Lengths of n rows in starts[1..n] -> where they start, in place.
template <typename Index>
void accumulate(std::int64_t n, Index* starts) {
  starts[0] = 0;
  for (std::int64_t row = 0; row < n; ++row) starts[row + 1] += starts[row];
}

}  // namespace gmvae
