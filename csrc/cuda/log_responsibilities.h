#pragma once
#include "rows.h"

namespace gmvae::gpu {

struct LogRespPlan {
  RowPlan rows;
  bool staged;          // logits of the block's rows pass through shared memory and are written as one piece
  std::int64_t shared;  // bytes
};

// Odd, so that lanes writing one column each hit different banks.
GMVAE_HD constexpr std::int64_t staging_stride(std::int64_t k) { return k | 1; }

// Writes the staged logits minus each row's normaliser: neighbouring threads write neighbouring values.
template <class B, typename T>
GMVAE_DEVICE void write_staged(const B& block, const T* logits, const T* lse, std::int64_t first, int rows, int k,
                               T* log_resp /* [n, k] */) {
  const int stride = static_cast<int>(staging_stride(k));
  for (int t = block.thread(); t < rows * k; t += block.threads()) {
    const int r = t / k, c = t - r * k;
    log_resp[first * k + t] = logits[r * stride + c] - lse[r];
  }
}

template <class Row, class B, typename T>
GMVAE_DEVICE void log_responsibilities(const B& block, const LogRespArgs<T>& a, const LogRespPlan& plan, T* shared) {
  const std::int64_t k = a.mixture.k;
  const RowArrays<T> arrays{a.z, nullptr, nullptr, static_cast<int>(a.mixture.d)};
  ComponentTiles<Row> tiles(a.mixture, plan.rows, shared);
  Row row(block.thread(), plan.rows);
  const int rows = block.threads() / row.lanes(), r = block.thread() / row.lanes();
  T* const lse = shared + plan.rows.shared / static_cast<std::int64_t>(sizeof(T));  // [rows]
  T* const logits = lse + rows;                                                     // [rows, staging_stride(k)]
  for_each_row(block, row, a.n, [&](std::int64_t i, bool mine, std::int64_t begin) {
    row.load(arrays, i);
    LogSumExp<T> norm;
    T logit[1];
    for (std::int64_t first = 0; first < k; first += plan.rows.tile) {
      const Tables<T> t = tiles.open(block, first);
      for (int c = 0; c < t.count; ++c) {
        row.template logits<1>(block, t, c, logit);
        norm.raise(logit[0]);
        norm.sum += exp_of(logit[0] - norm.top);
        if (plan.staged && row.lane() == 0) logits[r * staging_stride(k) + first + c] = logit[0];
      }
    }
    const T value = norm.value();
    if (mine && row.lane() == 0) a.log_prob[i] = value + math::log_normaliser(static_cast<T>(a.mixture.d));
    if (plan.staged) {
      if (row.lane() == 0) lse[r] = value;
      block.sync();
      const int present = static_cast<int>(a.n - begin < rows ? a.n - begin : rows);
      write_staged(block, logits, lse, begin, present, static_cast<int>(k), a.log_resp);
      block.sync();
      return;
    }
    for (std::int64_t first = 0; first < k; first += plan.rows.tile) {
      const Tables<T> t = tiles.open(block, first);
      for (int c = 0; c < t.count; ++c) {
        row.template logits<1>(block, t, c, logit);
        if (mine && row.lane() == 0) a.log_resp[i * k + first + c] = logit[0] - value;
      }
    }
  });
}

// sum_c G_c - g of row i: what the gradient of every logit holds times its responsibility. Shared among `lanes`.
template <class B, typename T>
GMVAE_DEVICE T upstream_excess(const B& block, const LogRespBackwardArgs<T>& a, std::int64_t i, int lane, int lanes) {
  T sum = 0;
  for (std::int64_t c = lane; c < a.mixture.k; c += lanes) sum += a.grad_resp[i * a.mixture.k + c];
  return block.group_sum(sum, lanes) - a.grad_prob[i];
}

template <typename T>
GMVAE_DEVICE T logit_gradient(const LogRespBackwardArgs<T>& a, std::int64_t i, std::int64_t c, T excess) {
  const std::int64_t at = i * a.mixture.k + c;
  return math::logit_gradient(a.grad_resp[at], exp_of(a.log_resp[at]), excess);
}

template <class Row, class B, typename T>
GMVAE_DEVICE void log_responsibilities_grad_z(const B& block, const LogRespBackwardArgs<T>& a, const RowPlan& plan,
                                              T* shared) {
  const RowArrays<T> arrays{a.z, nullptr, nullptr, static_cast<int>(a.mixture.d)};
  ComponentTiles<Row> tiles(a.mixture, plan, shared);
  Row row(block.thread(), plan);
  for_each_row(block, row, a.n, [&](std::int64_t i, bool mine, std::int64_t) {
    row.load(arrays, i);
    const T excess = upstream_excess(block, a, i, row.lane(), row.lanes());
    auto pull = row.open(a.grad_z, i, mine);
    for (std::int64_t first = 0; first < a.mixture.k; first += plan.tile) {
      const Tables<T> t = tiles.open(block, first);
      for (int c = 0; c < t.count; ++c) {
        row.visit(t, c);
        row.template pull<false>(block, t, c, -logit_gradient(a, i, first + c, excess), pull, pull);
      }
    }
    row.store(pull, a.grad_z, i, mine);
  });
}

}  // namespace gmvae::gpu
