#pragma once
// One row of data against components with dense covariances L L'. A = L^-1 (lower triangle) is the component's
// whitening factor, P = A'A its precision, y = A (x - mu) the whitened difference:
//   energy = sum_j s2_j P_jj + |y|^2,  pull_j = sum_c w_c (A' y)_j,  precision_j = sum_c w_c P_jj.
#include "rows.h"

namespace gmvae::gpu {

// Widest row that one thread handles alone.
constexpr int kMostDenseCoordinates = 64;

// A thread per row of at most J coordinates. Up to 16 they lie in registers; beyond, loops stay loops and the arrays
// lie in the thread's local memory, which is as fast as shared memory while the first cache holds it.
//
// Tables hold A in panels of kPanel rows, [column][row of the panel], the part above the diagonal zero: one vector load
// brings a column of a panel, both for A (x - mu) and for A' y, and all threads of a warp read the same one.
template <typename T, int J>
class DenseRow : public RegisterRow<T, J, false> {
  using Base = RegisterRow<T, J, false>;

 public:
  using typename Base::Sum;
  static constexpr bool kDense = true;
  static constexpr bool kRegisters = J <= 16;
  static constexpr int kPanel = kRegisters ? 4 : 8;

  static constexpr int table_stride(int, std::int64_t d) {
    return kRegisters ? J : static_cast<int>((d + kPanel - 1) / kPanel * kPanel);
  }
  GMVAE_HD static constexpr int factor_size(int stride) { return panel_at(stride); }

  // A lane's part of the tables of component c, with `factor` null where another component fills the shared one;
  // returns its part of sum_j log var_cj.
  GMVAE_DEVICE static double fill_covariance(const MixtureView<T>& m, std::int64_t c, int lane, int stride, T* inv_var,
                                             T* factor) {
    const int d = static_cast<int>(m.d);
    const T* const a = m.whitening + (m.covariance == Covariance::kTied ? 0 : c * d * d);
    double sum_log = 0;
    GMVAE_UNROLL_BY(1)
    for (int l = lane; l < stride; l += kWarp) {
      T squares = 0;
      GMVAE_UNROLL_BY(1)
      for (int j = (l - lane) / kPanel * kPanel; j < stride; ++j) {  // the same rows for all lanes: whole pieces
        const T value = l <= j && j < d ? a[std::int64_t(j) * d + l] : T(0);
        squares += value * value;
        if (l == j && j < d) sum_log += log_of(static_cast<double>(value));
        const int top = j / kPanel * kPanel;
        if (factor && l < top + kPanel) factor[panel_at(top) + l * kPanel + j - top] = value;
      }
      inv_var[l] = squares;
    }
    return -2 * sum_log;
  }

  GMVAE_DEVICE DenseRow(int thread, const RowPlan& plan) : Base(thread, plan) {}

  // As in RegisterRow, and y of this component is kept for `pull`.
  template <int C, class B>
  GMVAE_DEVICE void logits(const B&, const Tables<T>& t, int c, T (&logit)[C]) const {
    static_assert(C == 1, "one component at a time: y of one is kept");
    whiten(this->x_, t, c, y_);
    logit[0] = math::component_logit(t.offset[c], trace(t, c) + length(t, y_));
  }

  // For every assignment. A loop over the points, because whitening is much code and this is called from many places.
  template <class B>
  GMVAE_DEVICE T assigned_logit(const B&, const Tables<T>& t, int c, bool exact, T* gap) const {
    T kl = 0, energy = 0, point[J];
    GMVAE_UNROLL_BY(kSteps)
    for (int u = 0; u < J; ++u) point[u] = this->x_[u];
    GMVAE_UNROLL_BY(1)
    for (int pass = 0; pass < (exact ? 1 : 2); ++pass) {
      whiten(point, t, c, y_z_);
      energy = length(t, y_z_);
      if (pass == 1) continue;
      energy += trace(t, c);
      kl = energy;
      GMVAE_UNROLL_BY(kSteps)
      for (int u = 0; u < J; ++u) y_[u] = y_z_[u], point[u] = this->z_[u];
    }
    *gap = math::density_gap(kl, energy);
    return math::component_logit(t.offset[c], energy);
  }

  GMVAE_DEVICE void visit(const Tables<T>& t, int c) const { whiten(this->x_, t, c, y_); }

  // Of the component that came last in a logit or in `visit`, which does not prepare `pull_point`.
  template <bool kPrecision, class B>
  GMVAE_DEVICE void pull(const B&, const Tables<T>& t, int c, T w, Sum& pull, Sum& precision) const {
    unwhiten(y_, t, c, w, pull);
    if (!kPrecision) return;
    const T* const inv_var = t.inv_var + c * columns(t);
    GMVAE_UNROLL_BY(kSteps)
    for (int l = 0; l < columns(t); ++l) precision.v[l] += w * inv_var[l];
  }

  template <class B>
  GMVAE_DEVICE void pull_point(const B&, const Tables<T>& t, int c, T w, Sum& pull) const {
    unwhiten(y_z_, t, c, w, pull);
  }

 private:
  static constexpr int kSteps = Base::kSteps, kPanels = kRegisters ? J / kPanel : 1;  // loop steps that are unrolled
  static constexpr int kVector = 16 / static_cast<int>(sizeof(T));

  // Where the panel of rows top .. top + kPanel - 1 begins: panel i holds kPanel (i + 1) columns.
  GMVAE_HD static constexpr int panel_at(int top) { return top * (top + kPanel) / 2; }

  // With registers known to the compiler.
  GMVAE_DEVICE static int columns(const Tables<T>& t) { return kRegisters ? J : t.stride; }

  GMVAE_DEVICE static void read_column(const T* panel, int column, T (&a)[kPanel]) {
    GMVAE_UNROLL
    for (int p = 0; p < kPanel / kVector; ++p) {
      const auto part = load_pack<T, kVector>(panel + column * kPanel + p * kVector);
      GMVAE_UNROLL
      for (int e = 0; e < kVector; ++e) a[p * kVector + e] = part.v[e];
    }
  }

  // y = A (x - mu) in place, the last panel first: the ones before it read none of its coordinates.
  GMVAE_DEVICE static void whiten(const T (&x)[J], const Tables<T>& t, int c, T (&y)[J]) {
    const T* const mu = t.mu + c * columns(t);
    const T* const factor = t.factor + c * t.factor_step;
    GMVAE_UNROLL_BY(kSteps)
    for (int l = 0; l < columns(t); ++l) y[l] = x[l] - mu[l];
    GMVAE_UNROLL_BY(kPanels)
    for (int top = columns(t) - kPanel; top >= 0; top -= kPanel) {
      T sum[kPanel] = {}, a[kPanel];
      GMVAE_UNROLL_BY(kSteps)
      for (int l = 0; l < top + kPanel; ++l) {
        read_column(factor + panel_at(top), l, a);
        GMVAE_UNROLL
        for (int v = 0; v < kPanel; ++v) {
          if (!kRegisters || l <= top + v) sum[v] += a[v] * y[l];
        }
      }
      GMVAE_UNROLL
      for (int v = 0; v < kPanel; ++v) y[top + v] = sum[v];
    }
  }

  // sum += w A' y
  GMVAE_DEVICE static void unwhiten(const T (&y)[J], const Tables<T>& t, int c, T w, Sum& sum) {
    const T* const factor = t.factor + c * t.factor_step;
    GMVAE_UNROLL_BY(kPanels)
    for (int top = 0; top < columns(t); top += kPanel) {
      T weighted[kPanel], a[kPanel];
      GMVAE_UNROLL
      for (int v = 0; v < kPanel; ++v) weighted[v] = w * y[top + v];
      GMVAE_UNROLL_BY(kSteps)
      for (int l = 0; l < top + kPanel; ++l) {
        read_column(factor + panel_at(top), l, a);
        GMVAE_UNROLL
        for (int v = 0; v < kPanel; ++v) {
          if (!kRegisters || l <= top + v) sum.v[l] += a[v] * weighted[v];
        }
      }
    }
  }

  // |y|^2 and sum_j s2_j P_jj
  GMVAE_DEVICE static T length(const Tables<T>& t, const T (&y)[J]) {
    T sum = 0;
    GMVAE_UNROLL_BY(kSteps)
    for (int j = 0; j < columns(t); ++j) sum += math::dense_energy_term(y[j]);
    return sum;
  }

  GMVAE_DEVICE T trace(const Tables<T>& t, int c) const {
    const T* const inv_var = t.inv_var + c * columns(t);
    T sum = 0;
    GMVAE_UNROLL_BY(kSteps)
    for (int j = 0; j < columns(t); ++j) sum += math::dense_trace_term(this->s2_[j], inv_var[j]);
    return sum;
  }

  mutable T y_[J], y_z_[J];  // of the component asked for last, at x and at the assignment's point
};

constexpr int kWidePanel = 8;

// Sums over the lanes of a warp of kWidePanel values each; lane i gets the sum of value i % kWidePanel. Lanes first
// swap halves of their values, so that each of these steps moves half as many.
template <class B, typename T>
GMVAE_DEVICE T transposed_sum(const B& block, int lane, T (&value)[kWidePanel]) {
  GMVAE_UNROLL
  for (int step = kWidePanel / 2; step > 0; step /= 2) {
    const bool upper = (lane & step) != 0;
    GMVAE_UNROLL
    for (int i = 0; i < kWidePanel / 2; ++i) {
      if (i >= step) break;
      const T other = block.shuffle(upper ? value[i] : value[i + step], lane ^ step);
      value[i] = (upper ? value[i + step] : value[i]) + other;
    }
  }
  for (int step = kWidePanel; step < kWarp; step *= 2) value[0] += block.shuffle(value[0], lane ^ step);
  return value[0];
}

// Longer rows: a warp per row reads A itself, a panel of its rows at a time, and works out y again for every use. Right
// for every D; covariances this large are not worth more code.
template <typename T>
class WideDenseRow : public WideRow<T> {
 public:
  using typename WideRow<T>::Sum;
  static constexpr bool kDense = true;

  GMVAE_DEVICE WideDenseRow(int thread, const RowPlan& plan) : WideRow<T>(thread, plan) {}

  template <int C, class B>
  GMVAE_DEVICE void logits(const B& block, const Tables<T>& t, int c, T (&logit)[C]) const {
    static_assert(C == 1, "one component at a time, as in DenseRow");
    logit[0] = math::component_logit(offset(block, t, c), kl_energy(block, t, c));
  }

  template <class B>
  GMVAE_DEVICE T assigned_logit(const B& block, const Tables<T>& t, int c, bool exact, T* gap) const {
    const T kl = kl_energy(block, t, c);
    T energy = kl;
    if (!exact) {
      energy = 0;
      for (int top = 0; top < d_; top += kWidePanel) energy += panel_energy(whiten(block, z_, t, c, top));
      energy = block.group_sum(energy, kWarp);
    }
    *gap = math::density_gap(kl, energy);
    return math::component_logit(offset(block, t, c), energy);
  }

  template <bool kPrecision, class B>
  GMVAE_DEVICE void pull(const B& block, const Tables<T>& t, int c, T w, Sum& pull, Sum& precision) const {
    add(block, x_, t, c, w, pull.out, kPrecision ? precision.out : nullptr);
  }

  template <class B>
  GMVAE_DEVICE void pull_point(const B& block, const Tables<T>& t, int c, T w, Sum& pull) const {
    add(block, z_, t, c, w, pull.out, static_cast<T*>(nullptr));
  }

 private:
  using WideRow<T>::lane_;
  using WideRow<T>::d_;
  using WideRow<T>::x_;
  using WideRow<T>::z_;

  // Element (top, l) of the factor of component c.
  GMVAE_DEVICE const T* factor(const Tables<T>& t, int c, int top, int l) const {
    const std::int64_t component = t.mixture.covariance == Covariance::kTied ? 0 : t.first + c;
    return t.mixture.whitening + (component * d_ + top) * d_ + l;
  }

  GMVAE_DEVICE int panel_rows(int top) const { return d_ - top < kWidePanel ? d_ - top : kWidePanel; }

  // y of coordinate top + lane % kWidePanel at `point`, 0 beyond the last. Adds this lane's part of the panel's
  // sum_uj s2_j A_uj^2 to `trace`, if given.
  template <class B>
  GMVAE_DEVICE T whiten(const B& block, const T* point, const Tables<T>& t, int c, int top, T* trace = nullptr) const {
    const T* const mu = this->mu(t, c);
    const int rows = panel_rows(top);
    T sum[kWidePanel] = {};
    for (int l = lane_; l < top + rows; l += kWarp) {
      const T diff = widen(point[l]) - mu[l];
      const T* const a = factor(t, c, top, l);
      T squares = 0;
      GMVAE_UNROLL
      for (int v = 0; v < kWidePanel; ++v) {
        const T value = v < rows && l <= top + v ? a[std::int64_t(v) * d_] : T(0);
        sum[v] += value * diff;
        squares += value * value;
      }
      if (trace) *trace += math::dense_trace_term(this->variance(l), squares);
    }
    return transposed_sum(block, lane_, sum);
  }

  // A panel's y lies in the warp several times over.
  GMVAE_DEVICE T panel_energy(T white) const { return lane_ < kWidePanel ? math::dense_energy_term(white) : T(0); }

  template <class B>
  GMVAE_DEVICE T kl_energy(const B& block, const Tables<T>& t, int c) const {
    T share = 0;
    for (int top = 0; top < d_; top += kWidePanel) {
      const T white = whiten(block, x_, t, c, top, &share);
      share += panel_energy(white);
    }
    return block.group_sum(share, kWarp);
  }

  template <class B>
  GMVAE_DEVICE T offset(const B& block, const Tables<T>& t, int c) const {
    double sum = 0;
    for (int j = lane_; j < d_; j += kWarp) sum -= 2 * log_of(static_cast<double>(*factor(t, c, j, j)));
    return math::component_offset(t.mixture.log_weights[t.first + c], block.group_sum(sum, kWarp));
  }

  // pull += w A' y and precision_l += w P_ll
  template <class B>
  GMVAE_DEVICE void add(const B& block, const T* point, const Tables<T>& t, int c, T w, T* pull, T* precision) const {
    if (!pull) return;  // the same for the whole warp
    for (int top = 0; top < d_; top += kWidePanel) {
      const T own = w * whiten(block, point, t, c, top);
      const int rows = panel_rows(top);
      T white[kWidePanel];
      GMVAE_UNROLL
      for (int v = 0; v < kWidePanel; ++v) white[v] = block.shuffle(own, v);
      for (int l = lane_; l < top + rows; l += kWarp) {
        const T* const a = factor(t, c, top, l);
        T sum = 0, squares = 0;
        GMVAE_UNROLL
        for (int v = 0; v < kWidePanel; ++v) {
          const T value = v < rows && l <= top + v ? a[std::int64_t(v) * d_] : T(0);
          sum += value * white[v];
          squares += value * value;
        }
        pull[l] += sum;
        if (precision) precision[l] += w * squares;
      }
    }
  }
};

}  // namespace gmvae::gpu
