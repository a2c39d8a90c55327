#pragma once
// One row of data against the components of a diagonal mixture. A row lies in the registers of one thread, or of a
// group of lanes of a warp (RegisterRow), or stays in memory when it is too long for that (WideRow). dense_rows.h holds
// the same for dense covariances.
// Half-precision storage would be added in `widen`: every element of a row array passes through it.
#include <cmath>
#include <cstdint>
#include <limits>

#include "block.h"
#include "gmvae/launch.h"
#include "gmvae/mixture_math.h"

namespace gmvae::gpu {

// Coordinates that one thread keeps: 64 bytes of each array, so that six arrays fit its registers.
template <typename T>
constexpr int kMostCoordinates = 64 / static_cast<int>(sizeof(T));

GMVAE_DEVICE float exp_of(float x) { return expf(x); }
GMVAE_DEVICE double exp_of(double x) { return exp(x); }
GMVAE_DEVICE float log_of(float x) { return logf(x); }
GMVAE_DEVICE double log_of(double x) { return log(x); }

template <typename T>
GMVAE_DEVICE T widen(T stored) {
  return stored;
}

// N neighbouring values moved by one instruction.
template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
  T v[N];
};

template <typename T, int N>
GMVAE_DEVICE Pack<T, N> load_pack(const T* p) {
  return *reinterpret_cast<const Pack<T, N>*>(p);
}

struct RowPlan {
  int lanes;            // per row
  int tile;             // components whose tables lie in shared memory at a time
  int stride;           // of a table row
  int factor_step;      // between the components' whitening factors in shared memory; 0 for one that all share
  bool vector;          // rows are aligned for packs
  std::int64_t shared;  // bytes
};

// Components first .. first + count - 1. Tables in shared memory, padded coordinates with precision 0;
// null for WideRow, which reads the mixture itself.
template <typename T>
struct Tables {
  const T* mu;       // [count, stride]
  const T* inv_var;  // [count, stride]; dense covariances: the diagonal of P = A'A
  const T* factor;   // [count or 1, factor_size(stride)] whitening factors A as DenseRow reads them
  const T* offset;   // [count]
  MixtureView<T> mixture;
  std::int64_t first;
  int count, stride, factor_step;
};

// Fills shared memory tile by tile; a mixture that fits as a whole is loaded once per block.
template <class Row>
class ComponentTiles {
  using T = typename Row::Scalar;

 public:
  GMVAE_DEVICE ComponentTiles(const MixtureView<T>& mixture, const RowPlan& plan, T* shared)
      : mixture_(mixture), tile_(plan.tile), stride_(plan.stride), factor_step_(plan.factor_step), shared_(shared) {}

  GMVAE_DEVICE bool whole() const { return mixture_.k <= tile_; }

  // Collective: all threads of the block ask for the same tile.
  template <class B>
  GMVAE_DEVICE Tables<T> open(const B& block, std::int64_t first) {
    const int count = static_cast<int>(mixture_.k - first < tile_ ? mixture_.k - first : tile_);
    T* const mu = shared_;
    T* const inv_var = mu + std::int64_t(tile_) * stride_;
    T* const factor = inv_var + std::int64_t(tile_) * stride_;
    T* const offset = factor + (factor_step_ ? tile_ * factor_step_ : Row::factor_size(stride_));
    if constexpr (Row::kTables) {
      if (held_ != first) {
        if (held_ >= 0) block.sync();  // the tile that goes may still be read
        fill(block, first, count, mu, inv_var, factor, offset);
        held_ = first;
        block.sync();
      }
    }
    return {mu, inv_var, factor, offset, mixture_, first, count, stride_, factor_step_};
  }

 private:
  // A warp per component: reads run along its coordinates.
  template <class B>
  GMVAE_DEVICE void fill(const B& block, std::int64_t first, int count, T* mu, T* inv_var, T* factor, T* offset) const {
    const int lane = block.thread() % kWarp, d = static_cast<int>(mixture_.d);
    for (int c = block.thread() / kWarp; c < count; c += block.threads() / kWarp) {
      const T* const means = mixture_.means + (first + c) * d;
      GMVAE_UNROLL_BY(1)  // done once per block: little code rather than speed
      for (int j = lane; j < stride_; j += kWarp) mu[c * stride_ + j] = j < d ? means[j] : T(0);
      T* const own = c == 0 || factor_step_ ? factor + c * factor_step_ : nullptr;  // a shared one is filled once
      const double share = Row::fill_covariance(mixture_, first + c, lane, stride_, inv_var + c * stride_, own);
      const double sum = block.group_sum(share, kWarp);
      if (lane == 0) offset[c] = math::component_offset(mixture_.log_weights[first + c], sum);
    }
  }

  MixtureView<T> mixture_;
  std::int64_t tile_, held_ = -1;
  int stride_, factor_step_;
  T* shared_;
};

// Sums over components of exp(logit), kept relative to the largest logit so far.
template <typename T>
struct LogSumExp {
  T top = std::numeric_limits<T>::lowest();  // finite: all weights zero gives -inf, not NaN
  T sum = 0;

  // Returns the factor that brings whatever was summed before to the new largest logit.
  GMVAE_DEVICE T raise(T logit) {
    if (!(logit > top)) return T(1);
    const T factor = exp_of(top - logit);
    sum *= factor;
    top = logit;
    return factor;
  }
  GMVAE_DEVICE T value() const { return top + log_of(sum); }
};

template <typename T>
struct RowArrays {
  const T* mean;     // [n, d]
  const T* log_var;  // [n, d] or null: points
  const T* z;        // [n, d] or null: the assignment point is the mean
  int d;
};

// J coordinates per thread; `grouped`: as many lanes as the row needs, else one.
template <typename T, int J, bool kGrouped>
class RegisterRow {
 public:
  using Scalar = T;
  static constexpr bool kTables = true, kDense = false;
  static constexpr int kCoordinates = J;
  static constexpr int kLanes = kGrouped ? 0 : 1;  // 0: known at run time
  static constexpr int kWidest = 16 / static_cast<int>(sizeof(T));
  static constexpr int kPack = J % kWidest == 0 ? kWidest : (J % 2 == 0 ? 2 : 1);
  static constexpr int kPacks = J / kPack;
  // Steps of loops over coordinates and packs that are unrolled: all, where the arrays can lie in registers.
  static constexpr int kSteps = J <= 16 ? J : 4, kPackSteps = J <= 16 ? kPacks : 1;

  struct Sum {
    T v[J];  // one per coordinate
  };

  GMVAE_DEVICE RegisterRow(int thread, const RowPlan& plan)
      : lanes_(plan.lanes), lane_(thread % (kGrouped ? plan.lanes : 1)), vector_(plan.vector) {}

  // Tables of one component: coordinates in a table row, values of its whitening factor.
  static constexpr int table_stride(int lanes, std::int64_t) { return lanes * J; }
  GMVAE_HD static constexpr int factor_size(int) { return 0; }

  // A lane's part of the tables of component c; returns its part of sum_j log var_cj.
  GMVAE_DEVICE static double fill_covariance(const MixtureView<T>& m, std::int64_t c, int lane, int stride, T* inv_var,
                                             T*) {
    double sum = 0;
    GMVAE_UNROLL_BY(1)
    for (int j = lane; j < stride; j += kWarp) {
      const T log_var = j < m.d ? m.log_vars[c * m.d + j] : T(0);
      inv_var[j] = j < m.d ? exp_of(-log_var) : T(0);
      sum += static_cast<double>(log_var);
    }
    return sum;
  }

  GMVAE_DEVICE int lanes() const { return kGrouped ? lanes_ : 1; }
  GMVAE_DEVICE int lane() const { return kGrouped ? lane_ : 0; }

  GMVAE_DEVICE void load(const RowArrays<T>& a, std::int64_t i) {
    d_ = a.d;
    read(a.mean + i * d_, x_);
    sum_log_var_ = 0;
    if (a.log_var) {
      read(a.log_var + i * d_, s2_);
      GMVAE_UNROLL_BY(kSteps)
      for (int u = 0; u < J; ++u) {
        sum_log_var_ += s2_[u];  // padding adds 0
        s2_[u] = exp_of(s2_[u]);
      }
    } else {
      GMVAE_UNROLL_BY(kSteps)
      for (int u = 0; u < J; ++u) s2_[u] = 0;
    }
    if (a.z) {
      read(a.z + i * d_, z_);
    } else {
      GMVAE_UNROLL_BY(kSteps)
      for (int u = 0; u < J; ++u) z_[u] = x_[u];
    }
  }

  template <class B>
  GMVAE_DEVICE T sum_log_var(const B& block) const {
    return block.group_sum(sum_log_var_, lanes());
  }

  // Logits of components c .. c + C - 1 under (m, s2).
  template <int C, class B>
  GMVAE_DEVICE void logits(const B& block, const Tables<T>& t, int c, T (&logit)[C]) const {
    T energy[C] = {};
    GMVAE_UNROLL_BY(kPackSteps)
    for (int p = 0; p < kPacks; ++p) {
      GMVAE_UNROLL
      for (int v = 0; v < C; ++v) {
        const auto mu = table(t.mu, t, c + v, p), inv_var = table(t.inv_var, t, c + v, p);
        GMVAE_UNROLL
        for (int u = 0; u < kPack; ++u) {
          energy[v] += math::energy_term(x_[p * kPack + u], s2_[p * kPack + u], mu.v[u], inv_var.v[u]);
        }
      }
    }
    GMVAE_UNROLL
    for (int v = 0; v < C; ++v) {
      logit[v] = math::component_logit(t.offset[c + v], block.group_sum(energy[v], lanes()));
    }
  }

  // Logit of component c at the assignment point, and its density gap.
  template <class B>
  GMVAE_DEVICE T point_logit(const B& block, const Tables<T>& t, int c, T* gap) const {
    T energy = 0, kl_energy = 0;
    GMVAE_UNROLL_BY(kPackSteps)
    for (int p = 0; p < kPacks; ++p) {
      const auto mu = table(t.mu, t, c, p), inv_var = table(t.inv_var, t, c, p);
      GMVAE_UNROLL
      for (int u = 0; u < kPack; ++u) {
        energy += math::energy_term(z_[p * kPack + u], mu.v[u], inv_var.v[u]);
        kl_energy += math::energy_term(x_[p * kPack + u], s2_[p * kPack + u], mu.v[u], inv_var.v[u]);
      }
    }
    energy = block.group_sum(energy, lanes());
    *gap = math::density_gap(block.group_sum(kl_energy, lanes()), energy);
    return math::component_logit(t.offset[c], energy);
  }

  // An empty sum for row i of `out`.
  GMVAE_DEVICE Sum open(T*, std::int64_t, bool) const { return Sum{}; }

  // Comes before the pulls of a component whose logit was not just asked for; dense rows then whiten.
  GMVAE_DEVICE void visit(const Tables<T>&, int) const {}

  // pull_j += w (x_j - mu_cj) iv_cj, precision_j += w iv_cj
  template <bool kPrecision, class B>
  GMVAE_DEVICE void pull(const B&, const Tables<T>& t, int c, T w, Sum& pull, Sum& precision) const {
    add<kPrecision>(x_, t, c, w, pull, precision);
  }

  // The same about the assignment point, without precision.
  template <class B>
  GMVAE_DEVICE void pull_point(const B&, const Tables<T>& t, int c, T w, Sum& pull) const {
    add<false>(z_, t, c, w, pull, pull);
  }

  GMVAE_DEVICE void scale(T factor, Sum& sum) const {
    GMVAE_UNROLL_BY(kSteps)
    for (int u = 0; u < J; ++u) sum.v[u] *= factor;
  }

  GMVAE_DEVICE void store(const Sum& sum, T* out /* [n, d] */, std::int64_t i, bool mine) const {
    if (mine) write(sum.v, out + i * d_);
  }

  GMVAE_DEVICE void store_grad_log_var(const Sum& precision, T* out /* [n, d] */, std::int64_t i, bool mine) const {
    T value[J];
    GMVAE_UNROLL_BY(kSteps)
    for (int u = 0; u < J; ++u) value[u] = math::grad_log_var(s2_[u], precision.v[u]);
    if (mine) write(value, out + i * d_);
  }

 private:
  // Neighbouring lanes hold neighbouring packs, so that a group reads whole sectors.
  GMVAE_DEVICE int coordinate(int pack) const { return (pack * lanes() + lane()) * kPack; }

  GMVAE_DEVICE Pack<T, kPack> table(const T* base, const Tables<T>& t, int c, int pack) const {
    // With one lane the stride is J: the compiler then folds it into the address.
    return load_pack<T, kPack>(base + c * (kGrouped ? t.stride : J) + coordinate(pack));
  }

  GMVAE_DEVICE void read(const T* row /* [d] */, T (&out)[J]) const {
    GMVAE_UNROLL_BY(kPackSteps)
    for (int p = 0; p < kPacks; ++p) {
      const int j = coordinate(p);
      Pack<T, kPack> values{};
      if (vector_) {
        if (j < d_) values = load_pack<T, kPack>(row + j);  // d is a multiple of the pack
      } else {
        GMVAE_UNROLL
        for (int u = 0; u < kPack; ++u) {
          if (j + u < d_) values.v[u] = row[j + u];
        }
      }
      GMVAE_UNROLL
      for (int u = 0; u < kPack; ++u) out[p * kPack + u] = widen(values.v[u]);
    }
  }

  GMVAE_DEVICE void write(const T (&values)[J], T* row /* [d] */) const {
    GMVAE_UNROLL_BY(kPackSteps)
    for (int p = 0; p < kPacks; ++p) {
      const int j = coordinate(p);
      if (vector_) {
        Pack<T, kPack> pack;
        GMVAE_UNROLL
        for (int u = 0; u < kPack; ++u) pack.v[u] = values[p * kPack + u];
        if (j < d_) *reinterpret_cast<Pack<T, kPack>*>(row + j) = pack;
      } else {
        GMVAE_UNROLL
        for (int u = 0; u < kPack; ++u) {
          if (j + u < d_) row[j + u] = values[p * kPack + u];
        }
      }
    }
  }

  template <bool kPrecision>
  GMVAE_DEVICE void add(const T (&point)[J], const Tables<T>& t, int c, T w, Sum& pull, Sum& precision) const {
    GMVAE_UNROLL_BY(kPackSteps)
    for (int p = 0; p < kPacks; ++p) {
      const auto mu = table(t.mu, t, c, p), inv_var = table(t.inv_var, t, c, p);
      GMVAE_UNROLL
      for (int u = 0; u < kPack; ++u) {
        const int j = p * kPack + u;
        const T share = w * inv_var.v[u];
        pull.v[j] += share * (point[j] - mu.v[u]);
        if (kPrecision) precision.v[j] += share;
      }
    }
  }

  int lanes_, lane_;
  bool vector_;

 protected:
  int d_ = 0;
  T x_[J], s2_[J], z_[J];  // arrays that a kernel never reads take no registers
  T sum_log_var_ = 0;
};

// Rows longer than a warp can hold: a warp walks over the row in memory for every component, and sums over
// components grow in the output itself. Right for every D; a latent space this wide is not worth more code.
template <typename T>
class WideRow {
 public:
  using Scalar = T;
  static constexpr bool kTables = false, kDense = false;
  static constexpr int kCoordinates = 0;
  static constexpr int kLanes = kWarp;
  static constexpr int kPack = 1;

  struct Sum {
    T* out;  // [d], or null for a lane group without a row of its own
  };

  static constexpr int table_stride(int, std::int64_t) { return 0; }
  GMVAE_HD static constexpr int factor_size(int) { return 0; }

  GMVAE_DEVICE WideRow(int thread, const RowPlan&) : lane_(thread % kWarp) {}
  GMVAE_DEVICE int lanes() const { return kWarp; }
  GMVAE_DEVICE int lane() const { return lane_; }

  GMVAE_DEVICE void load(const RowArrays<T>& a, std::int64_t i) {
    d_ = a.d;
    x_ = a.mean + i * d_;
    log_var_ = a.log_var ? a.log_var + i * d_ : nullptr;
    z_ = a.z ? a.z + i * d_ : x_;
  }

  template <class B>
  GMVAE_DEVICE T sum_log_var(const B& block) const {
    T sum = 0;
    if (log_var_) {
      for (int j = lane_; j < d_; j += kWarp) sum += widen(log_var_[j]);
    }
    return block.group_sum(sum, kWarp);
  }

  template <int C, class B>
  GMVAE_DEVICE void logits(const B& block, const Tables<T>& t, int c, T (&logit)[C]) const {
    for (int v = 0; v < C; ++v) {
      T energy = 0;
      for (int j = lane_; j < d_; j += kWarp) {
        energy += math::energy_term(widen(x_[j]), variance(j), mu(t, c + v)[j], inv_var(t, c + v, j));
      }
      logit[v] = math::component_logit(offset(block, t, c + v), block.group_sum(energy, kWarp));
    }
  }

  template <class B>
  GMVAE_DEVICE T point_logit(const B& block, const Tables<T>& t, int c, T* gap) const {
    T energy = 0, kl_energy = 0;
    for (int j = lane_; j < d_; j += kWarp) {
      const T m = mu(t, c)[j], iv = inv_var(t, c, j);
      energy += math::energy_term(widen(z_[j]), m, iv);
      kl_energy += math::energy_term(widen(x_[j]), variance(j), m, iv);
    }
    energy = block.group_sum(energy, kWarp);
    *gap = math::density_gap(block.group_sum(kl_energy, kWarp), energy);
    return math::component_logit(offset(block, t, c), energy);
  }

  GMVAE_DEVICE Sum open(T* out /* [n, d] */, std::int64_t i, bool mine) const {
    if (!mine || !out) return {nullptr};
    for (int j = lane_; j < d_; j += kWarp) out[i * d_ + j] = 0;
    return {out + i * d_};
  }

  GMVAE_DEVICE void visit(const Tables<T>&, int) const {}

  template <bool kPrecision, class B>
  GMVAE_DEVICE void pull(const B&, const Tables<T>& t, int c, T w, Sum& pull, Sum& precision) const {
    add(x_, t, c, w, pull.out, kPrecision ? precision.out : nullptr);
  }

  template <class B>
  GMVAE_DEVICE void pull_point(const B&, const Tables<T>& t, int c, T w, Sum& pull) const {
    add(z_, t, c, w, pull.out, nullptr);
  }

  GMVAE_DEVICE void store(const Sum&, T*, std::int64_t, bool) const {}  // it grew there

  GMVAE_DEVICE void store_grad_log_var(const Sum& precision, T*, std::int64_t, bool) const {
    if (!precision.out) return;
    for (int j = lane_; j < d_; j += kWarp) precision.out[j] = math::grad_log_var(variance(j), precision.out[j]);
  }

 protected:
  GMVAE_DEVICE T variance(int j) const { return log_var_ ? exp_of(widen(log_var_[j])) : T(0); }
  GMVAE_DEVICE const T* mu(const Tables<T>& t, int c) const { return t.mixture.means + (t.first + c) * d_; }

  int lane_, d_ = 0;
  const T* x_ = nullptr;        // [d]
  const T* log_var_ = nullptr;  // [d] or null
  const T* z_ = nullptr;        // [d]

 private:
  GMVAE_DEVICE T inv_var(const Tables<T>& t, int c, int j) const {
    return exp_of(-t.mixture.log_vars[(t.first + c) * d_ + j]);
  }

  template <class B>
  GMVAE_DEVICE T offset(const B& block, const Tables<T>& t, int c) const {
    double sum = 0;
    for (int j = lane_; j < d_; j += kWarp) sum += static_cast<double>(t.mixture.log_vars[(t.first + c) * d_ + j]);
    return math::component_offset(t.mixture.log_weights[t.first + c], block.group_sum(sum, kWarp));
  }

  GMVAE_DEVICE void add(const T* point, const Tables<T>& t, int c, T w, T* pull, T* precision) const {
    if (!pull) return;
    for (int j = lane_; j < d_; j += kWarp) {
      const T share = w * inv_var(t, c, j);
      pull[j] += share * (widen(point[j]) - mu(t, c)[j]);
      if (precision) precision[j] += share;
    }
  }
};

// Logit of component c: at the assignment point, with its density gap, or for the minimising assignment under (m, s2).
template <class Row, class B, typename T>
GMVAE_DEVICE T assigned_logit(const B& block, const Row& row, const Tables<T>& t, int c, bool exact, T* gap) {
  if constexpr (Row::kDense) {
    return row.assigned_logit(block, t, c, exact, gap);
  } else {
    if (!exact) return row.point_logit(block, t, c, gap);
    T logit[1];
    row.template logits<1>(block, t, c, logit);
    *gap = 0;
    return logit[0];
  }
}

// Calls body(i, mine, first) for the rows i of this thread's lane group, first being the block's first row. Every
// thread makes the same number of calls, because sums over lanes and tiles of components are collective; without a row
// of its own (mine false) it repeats the last one.
template <class Row, class B, class Body>
GMVAE_DEVICE void for_each_row(const B& block, const Row& row, std::int64_t n, const Body& body) {
  const std::int64_t rows = block.threads() / row.lanes();
  for (std::int64_t first = block.index() * rows; first < n; first += block.count() * rows) {
    const std::int64_t i = first + block.thread() / row.lanes();
    body(i < n ? i : n - 1, i < n, first);
  }
}

}  // namespace gmvae::gpu
