// Solves with a sparse LDL' factor, a block of vectors at a time: the factor is what memory must deliver, and one
// passage serves all of them. Both triangles come from the same columns.
#include "kernels.h"
#include "lanes.h"

namespace gmvae::GMVAE_ISA {
namespace {

// A row of the block; GCC and Clang split it where registers are narrower.
typedef double Row __attribute__((vector_size(kBlockRows * sizeof(double))));

Row row_at(const double* p) {
  Row v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

void put_row(double* p, Row v) { std::memcpy(p, &v, sizeof(v)); }

void forward(const FactorSolveArgs<double>& a) {
  for (std::int64_t j = 0; j < a.n; ++j) {
    const Row value = row_at(a.scratch + j * kBlockRows);
    for (std::int32_t e = a.starts[j]; e < a.starts[j + 1]; ++e) {
      if (a.rows[e] == j) continue;
      double* const target = a.scratch + static_cast<std::int64_t>(a.rows[e]) * kBlockRows;
      put_row(target, row_at(target) - a.values[e] * value);
    }
    put_row(a.scratch + j * kBlockRows, value * a.inverse_diagonal[j]);
  }
}

void backward(const FactorSolveArgs<double>& a) {
  constexpr int kChains = 4;  // sums side by side hide the latency of additions
  for (std::int64_t j = a.n - 1; j >= 0; --j) {
    Row sum[kChains] = {};
    const std::int32_t end = a.starts[j + 1];
    std::int32_t e = a.starts[j];
    const auto product = [&](std::int32_t entry) {
      const double value = a.rows[entry] == j ? 0.0 : a.values[entry];
      return value * row_at(a.scratch + static_cast<std::int64_t>(a.rows[entry]) * kBlockRows);
    };
    for (; e + kChains <= end; e += kChains) {
      for (int c = 0; c < kChains; ++c) sum[c] += product(e + c);
    }
    for (; e < end; ++e) sum[0] += product(e);
    double* const target = a.scratch + j * kBlockRows;
    put_row(target, row_at(target) - ((sum[0] + sum[1]) + (sum[2] + sum[3])));
  }
}

}  // namespace

template <>
void factor_solve<double>(const FactorSolveArgs<double>& a) {
  for (std::int64_t j = 0; j < a.n; ++j) {
    for (int b = 0; b < kBlockRows; ++b) a.scratch[j * kBlockRows + b] = a.right[b * a.n + a.order[j]];
  }
  forward(a);
  backward(a);
  for (std::int64_t j = 0; j < a.n; ++j) {
    for (int b = 0; b < kBlockRows; ++b) a.solution[b * a.n + a.order[j]] = a.scratch[j * kBlockRows + b];
  }
}

}  // namespace gmvae::GMVAE_ISA
