#pragma once
#include "rows.h"

namespace gmvae::gpu {

// Components handled together: independent sums, and one raise of the largest logit for all.
template <class Row>
constexpr int kBatch = Row::kDense ? 1 : (Row::kCoordinates > 8 ? 2 : 4);

template <bool kGrad, int C, class Row, class B, typename T>
GMVAE_DEVICE void add_exact(const B& block, const Row& row, const Tables<T>& t, int c, LogSumExp<T>& norm,
                            typename Row::Sum& pull, typename Row::Sum& precision) {
  T logit[C];
  row.template logits<C>(block, t, c, logit);
  T largest = logit[0];
  GMVAE_UNROLL
  for (int v = 1; v < C; ++v) largest = logit[v] > largest ? logit[v] : largest;
  if (largest > norm.top) {
    const T factor = norm.raise(largest);
    if (kGrad) {
      row.scale(factor, pull);
      row.scale(factor, precision);
    }
  }
  GMVAE_UNROLL
  for (int v = 0; v < C; ++v) {
    const T w = exp_of(logit[v] - norm.top);
    norm.sum += w;
    if (kGrad) row.template pull<true>(block, t, c + v, w, pull, precision);
  }
}

// The minimising assignment in one pass over the components: weights relative to the largest logit so far, sums
// rescaled when it rises.
template <bool kGrad, class Row, class B, typename T>
GMVAE_DEVICE void mixture_kl_exact(const B& block, const MixtureKlArgs<T>& a, const RowPlan& plan, T* shared) {
  constexpr int C = kBatch<Row>;
  const RowArrays<T> arrays{a.mean, a.log_var, nullptr, static_cast<int>(a.mixture.d)};
  ComponentTiles<Row> tiles(a.mixture, plan, shared);
  Row row(block.thread(), plan);
  for_each_row(block, row, a.n, [&](std::int64_t i, bool mine, std::int64_t) {
    row.load(arrays, i);
    const T entropy = math::entropy_term(row.sum_log_var(block), static_cast<T>(a.mixture.d));
    LogSumExp<T> norm;
    typename Row::Sum pull{}, precision{};
    for (std::int64_t first = 0; first < a.mixture.k; first += plan.tile) {
      const Tables<T> t = tiles.open(block, first);
      int c = 0;
      for (; c + C <= t.count; c += C) add_exact<kGrad, C>(block, row, t, c, norm, pull, precision);
      for (; c < t.count; ++c) add_exact<kGrad, 1>(block, row, t, c, norm, pull, precision);
    }
    if (mine && row.lane() == 0) a.kl[i] = entropy - norm.value();
    if (kGrad) {
      const T scale = 1 / norm.sum;
      row.scale(scale, pull);
      row.scale(scale, precision);
      row.store(pull, a.grad_mean, i, mine);
      row.store_grad_log_var(precision, a.grad_log_var, i, mine);
    }
  });
}

// Any assignment in two passes: gradients through a given assignment need the row's mean density gap first, because
// the differences from it would cancel if taken afterwards.
template <class Row, class B, typename T>
GMVAE_DEVICE void mixture_kl_assigned(const B& block, const MixtureKlArgs<T>& a, const RowPlan& plan, T* shared) {
  const bool exact = a.assignment == Assignment::kExact;
  const bool attached = !exact && !a.detach, sampled = a.assignment == Assignment::kSampled;
  const RowArrays<T> arrays{a.mean, a.log_var, a.z, static_cast<int>(a.mixture.d)};
  ComponentTiles<Row> tiles(a.mixture, plan, shared);
  Row row(block.thread(), plan);
  const auto logit_and_gap = [&](const Tables<T>& t, int c, T* gap) {
    return assigned_logit(block, row, t, c, exact, gap);
  };
  for_each_row(block, row, a.n, [&](std::int64_t i, bool mine, std::int64_t) {
    row.load(arrays, i);
    const T entropy = math::entropy_term(row.sum_log_var(block), static_cast<T>(a.mixture.d));
    LogSumExp<T> norm;
    T mean_gap = 0, gap;
    for (std::int64_t first = 0; first < a.mixture.k; first += plan.tile) {
      const Tables<T> t = tiles.open(block, first);
      for (int c = 0; c < t.count; ++c) {
        const T logit = logit_and_gap(t, c, &gap);
        mean_gap *= norm.raise(logit);
        const T w = exp_of(logit - norm.top);
        norm.sum += w;
        mean_gap += w * gap;
      }
    }
    const T scale = 1 / norm.sum;
    mean_gap *= scale;
    if (mine && row.lane() == 0) a.kl[i] = entropy + mean_gap - norm.value();
    if (!a.grad_mean) return;
    auto pull = row.open(a.grad_mean, i, mine), precision = row.open(a.grad_log_var, i, mine);
    auto pull_z = row.open(a.grad_z, i, mine);
    for (std::int64_t first = 0; first < a.mixture.k; first += plan.tile) {
      const Tables<T> t = tiles.open(block, first);
      for (int c = 0; c < t.count; ++c) {
        const T logit = logit_and_gap(t, c, &gap);
        const T gamma = exp_of(logit - norm.top) * scale;
        row.template pull<true>(block, t, c, gamma, pull, precision);
        if (!attached) continue;
        // The logit of component c falls by (z - mu) iv per unit of z.
        const T through = -math::responsibility_gradient(gamma, gap, mean_gap);
        if (sampled) {  // not one call with the sum chosen: that would move both sums to local memory
          row.pull_point(block, t, c, through, pull_z);
        } else {
          row.pull_point(block, t, c, through, pull);
        }
      }
    }
    row.store(pull, a.grad_mean, i, mine);
    row.store_grad_log_var(precision, a.grad_log_var, i, mine);
    if (attached && sampled) row.store(pull_z, a.grad_z, i, mine);
  });
}

}  // namespace gmvae::gpu
