// Nearest neighbours by a k-d tree. All queries of one leaf descend together: a box is entered if any of them may have
// a neighbour in it, and a leaf's points, which then lie in the first cache, are compared with four queries at a time,
// one vector of points after the other. Distances are found in T; the lists hold a few candidates more than k, and
// float64 decides among them.
#include <cmath>
#include <limits>

#include "kernels.h"
#include "lanes.h"
#include "rows.h"

namespace gmvae::GMVAE_ISA {
namespace {

constexpr int kQueries = 4;  // compared with one vector of points at a time

template <typename T>
constexpr T kLargest = std::numeric_limits<T>::max();

// Scratch of one thread, for the queries of one leaf.
template <typename T>
struct LeafQueries {
  T* soa;                  // [d, pad] coordinates
  T* rows;                 // [pad, d]
  T* squared;              // [pad] squared distance to the box looked at last
  T* reach;                // [pad] squared distance below which a point is a candidate; negative behind the last query
  T* slack;                // [pad] what rounding of the coordinates may add to it
  T* found;                // [pad, stride] squared distances of the candidates, ascending from `lead` on
  T* low;                  // [d] box of the queries
  T* high;                 // [d]
  double* exact;           // [capacity]
  std::int32_t* nodes;     // [pad, stride] places of the candidates in the tree's order, -1: none
  std::int32_t* places;    // [pad] of the queries
  std::int32_t* entering;  // [pad] queries that enter a leaf
  std::int64_t* stack;     // [2 levels + 2] nodes to visit
  std::int64_t leaves_read;
  std::int64_t count, pad, capacity, stride, lead;
  T largest_reach;

  T* list(std::int64_t query) const { return found + query * stride + lead; }
  std::int32_t* members(std::int64_t query) const { return nodes + query * stride + lead; }
};

// Hands out 64-byte aligned pieces; without memory it only adds up their sizes.
struct Pieces {
  unsigned char* memory;
  std::int64_t used;

  template <typename U>
  U* take(std::int64_t size) {
    U* const piece = reinterpret_cast<U*>(memory ? memory + used : nullptr);
    used += (size * static_cast<std::int64_t>(sizeof(U)) + 63) / 64 * 64;
    return piece;
  }
};

template <typename T>
LeafQueries<T> lay_out(const KdSearchArgs<T>& a, Pieces& pieces) {
  constexpr std::int64_t W = Lanes<T>::width;
  const KdTree<T>& t = a.tree;
  LeafQueries<T> q{};
  q.pad = t.pad;
  q.lead = W;  // an insertion reads the entry before the list
  q.capacity = (a.k + a.spare + W - 1) / W * W;
  q.stride = q.lead + q.capacity;
  q.soa = pieces.take<T>(t.d * t.pad);
  q.rows = pieces.take<T>(t.pad * t.d);
  q.squared = pieces.take<T>(t.pad);
  q.reach = pieces.take<T>(t.pad);
  q.slack = pieces.take<T>(t.pad);
  q.found = pieces.take<T>(t.pad * q.stride);
  q.low = pieces.take<T>(t.d);
  q.high = pieces.take<T>(t.d);
  q.exact = pieces.take<double>(q.capacity);
  q.nodes = pieces.take<std::int32_t>(t.pad * q.stride);
  q.places = pieces.take<std::int32_t>(t.pad);
  q.entering = pieces.take<std::int32_t>(t.pad);
  q.stack = pieces.take<std::int64_t>(2 * t.levels + 2);
  return q;
}

// The squared distance below which candidates are taken: the k-th so far, and as much more as rounding could hide.
// With u the epsilon of T, coordinates are off by u/2 of themselves, so a true distance r appears as at most
// (r + u (2 |x| + r)) (1 + (d + 4) u); squared, with 2 r s <= r² / 1000 + 1000 s² for the cross term. It ends where the
// list does.
template <typename T>
T reach_of(const LeafQueries<T>& q, std::int64_t query, std::int64_t k, std::int64_t d) {
  const T* const list = q.list(query);
  constexpr T eps = std::numeric_limits<T>::epsilon();
  const T wide = list[k - 1] * (T(1.001) + 4 * static_cast<T>(d + 6) * eps) + q.slack[query];
  return wide < list[q.capacity - 1] ? wide : list[q.capacity - 1];
}

// Puts (value, node) in its place in an ascending list, off whose end the last one falls. Without branches: entry i
// becomes the middle one of what it is, the entry before it and the new value.
template <typename T>
inline void insert(T* list, std::int32_t* members, std::int64_t capacity, T value, std::int32_t node) {
  constexpr int W = Lanes<T>::width;
  typedef std::int32_t Members __attribute__((vector_size(W * sizeof(std::int32_t))));
  const Vec<T> all = splat(value);
  for (std::int64_t i = capacity - W; i >= 0; i -= W) {
    const Vec<T> here = load(list + i), before = load(list + i - 1);
    const auto stays = here <= all, follows = before <= all;
    store<T>(list + i, stays ? here : (follows ? all : before));
    Members mine, previous;
    std::memcpy(&mine, members + i, sizeof(mine));
    std::memcpy(&previous, members + i - 1, sizeof(previous));
    const Members keep = __builtin_convertvector(stays, Members), put = __builtin_convertvector(follows, Members);
    const Members chosen = keep ? mine : (put ? Members{} + node : previous);
    std::memcpy(members + i, &chosen, sizeof(chosen));
  }
}

// Compares Q queries with the points of a leaf.
template <typename T, int Q>
inline void scan(const KdSearchArgs<T>& a, LeafQueries<T>& q, const std::int32_t* queries, std::int64_t leaf) {
  constexpr int W = Lanes<T>::width;
  const KdTree<T>& t = a.tree;
  const T* const block = t.leaves + leaf * t.d * t.pad;
  const std::int64_t first = t.begin(leaf), size = t.begin(leaf + 1) - first;
  const T* row[Q];
  T reach[Q];
  for (int i = 0; i < Q; ++i) {
    row[i] = q.rows + queries[i] * t.d;
    reach[i] = q.reach[queries[i]];
  }
  for (std::int64_t p = 0; p < size; p += W) {
    Vec<T> sum[Q] = {};
    for (std::int64_t j = 0; j < t.d; ++j) {
      const Vec<T> x = load(block + j * t.pad + p);
      for (int i = 0; i < Q; ++i) {
        const Vec<T> difference = x - row[i][j];
        sum[i] += difference * difference;
      }
    }
    unsigned near[Q], any = 0;
    for (int i = 0; i < Q; ++i) any |= near[i] = lane_mask(sum[i] < splat(reach[i]));
    if (__builtin_expect(any == 0, 1)) continue;
    for (int i = 0; i < Q; ++i) {
      if (!near[i]) continue;
      T values[W];
      store<T>(values, sum[i]);
      for (unsigned left = near[i]; left; left &= left - 1) {
        const int lane = __builtin_ctz(left);
        const auto node = static_cast<std::int32_t>(first + p + lane);
        if (!(values[lane] < reach[i]) || node == q.places[queries[i]]) continue;
        insert(q.list(queries[i]), q.members(queries[i]), q.capacity, values[lane], node);
        reach[i] = reach_of(q, queries[i], a.k, t.d);
      }
    }
  }
  for (int i = 0; i < Q; ++i) q.reach[queries[i]] = reach[i];
}

// Lets the queries whose reach goes beyond `squared` search a leaf.
template <typename T>
void visit(const KdSearchArgs<T>& a, LeafQueries<T>& q, std::int64_t leaf) {
  std::int64_t entering = 0;
  for (std::int64_t i = 0; i < q.count; ++i) {
    q.entering[entering] = static_cast<std::int32_t>(i);
    entering += q.squared[i] < q.reach[i];
  }
  std::int64_t i = 0;
  for (; i + kQueries <= entering; i += kQueries) scan<T, kQueries>(a, q, q.entering + i, leaf);
  if (i + 2 <= entering) scan<T, 2>(a, q, q.entering + i, leaf), i += 2;
  if (i < entering) scan<T, 1>(a, q, q.entering + i, leaf);
  q.leaves_read += entering;
  q.largest_reach = 0;
  for (std::int64_t r = 0; r < q.count; ++r)
    q.largest_reach = q.reach[r] > q.largest_reach ? q.reach[r] : q.largest_reach;
}

// Whether any query may have a candidate in the node's box; fills `squared`. Rounding is monotone, and these sums run
// in the order of those in `scan`: no point of the box is computed to be nearer than the box.
template <typename T>
bool may_enter(const KdTree<T>& t, LeafQueries<T>& q, std::int64_t node) {
  constexpr int W = Lanes<T>::width;
  const T* const low = t.low + node * t.d;
  const T* const high = t.high + node * t.d;
  T gap = 0;  // between the two boxes
  for (std::int64_t j = 0; j < t.d; ++j) {
    const T under = low[j] - q.high[j], over = q.low[j] - high[j], m = under > over ? under : over;
    gap += m > 0 ? m * m : 0;
  }
  if (gap >= q.largest_reach) return false;
  unsigned any = 0;
  for (std::int64_t p = 0; p < q.count; p += W) {
    Vec<T> sum{};
    for (std::int64_t j = 0; j < t.d; ++j) {
      const Vec<T> x = load(q.soa + j * t.pad + p), under = low[j] - x, over = x - high[j];
      Vec<T> m = under > over ? under : over;
      m = m > Vec<T>{} ? m : Vec<T>{};
      sum += m * m;
    }
    store<T>(q.squared + p, sum);
    any |= lane_mask(sum < load(q.reach + p));
  }
  return any != 0;
}

// Squared distance between the middles of the queries' box and a node's, times 4.
template <typename T>
T between_middles(const KdTree<T>& t, const LeafQueries<T>& q, std::int64_t node) {
  T sum = 0;
  for (std::int64_t j = 0; j < t.d; ++j) {
    const T m = t.low[node * t.d + j] + t.high[node * t.d + j] - q.low[j] - q.high[j];
    sum += m * m;
  }
  return sum;
}

// The points of a leaf whose neighbours are wanted.
template <typename T>
void gather(const KdSearchArgs<T>& a, LeafQueries<T>& q, std::int64_t leaf) {
  constexpr int W = Lanes<T>::width;
  constexpr T eps = std::numeric_limits<T>::epsilon();
  const KdTree<T>& t = a.tree;
  const T* const block = t.leaves + leaf * t.d * t.pad;
  q.count = 0;
  for (std::int64_t i = t.begin(leaf); i < t.begin(leaf + 1); ++i) {
    if (a.slots && a.slots[t.order[i]] < 0) continue;
    const std::int64_t query = q.count++;
    T norm = 0;
    for (std::int64_t j = 0; j < t.d; ++j) {
      const T x = block[j * t.pad + i - t.begin(leaf)];
      q.rows[query * t.d + j] = q.soa[j * t.pad + query] = x;
      q.low[j] = query == 0 || x < q.low[j] ? x : q.low[j];
      q.high[j] = query == 0 || x > q.high[j] ? x : q.high[j];
      norm += x * x;
    }
    q.places[query] = static_cast<std::int32_t>(i);
    q.squared[query] = 0;
    q.reach[query] = kLargest<T>;
    q.slack[query] = T(1001) * 16 * eps * eps * norm + static_cast<T>(t.d) * std::numeric_limits<T>::min();
    for (std::int64_t c = -q.lead; c < q.capacity; ++c) {
      q.list(query)[c] = c < 0 ? -kLargest<T> : kLargest<T>;
      q.members(query)[c] = -1;
    }
  }
  for (std::int64_t query = q.count; query % W != 0; ++query) {
    for (std::int64_t j = 0; j < t.d; ++j) q.soa[j * t.pad + query] = q.high[j];
    q.reach[query] = -1;
  }
}

// Decides among a query's candidates in float64.
template <typename T>
void settle(const KdSearchArgs<T>& a, LeafQueries<T>& q, std::int64_t query) {
  const KdTree<T>& t = a.tree;
  const std::int64_t point = t.order[q.places[query]], row = a.slots ? a.slots[point] : point;
  std::int64_t* const indices = a.indices + row * a.k;
  double* const squared = q.exact;
  std::int64_t found = 0;
  for (std::int64_t c = 0; c < q.capacity && q.members(query)[c] >= 0; ++c) {
    const std::int64_t other = t.order[q.members(query)[c]];
    double sum = 0;
    for (std::int64_t j = 0; j < t.d; ++j) {
      const double m = a.points[other * t.d + j] - a.points[point * t.d + j];
      sum += m * m;
    }
    std::int64_t place = found < a.k ? found++ : a.k;
    const auto before = [&](std::int64_t i) { return sum < squared[i] || (sum == squared[i] && other < indices[i]); };
    if (place == a.k && !before(--place)) continue;
    for (; place > 0 && before(place - 1); --place) {
      squared[place] = squared[place - 1];
      indices[place] = indices[place - 1];
    }
    squared[place] = sum;
    indices[place] = other;
  }
  for (std::int64_t i = 0; i < a.k; ++i) {
    if (i >= found) indices[i] = t.n;
    a.distances[row * a.k + i] = i < found ? std::sqrt(squared[i]) : std::numeric_limits<double>::infinity();
  }
  if (a.doubtful) {  // the list was too short for all that rounding makes candidates
    const bool full = q.members(query)[q.capacity - 1] >= 0;
    a.doubtful[row] = full && q.list(query)[q.capacity - 1] <= q.reach[query] && squared[a.k - 1] > 0;
  }
}

template <typename T>
void search_leaf(const KdSearchArgs<T>& a, LeafQueries<T>& q, std::int64_t leaf) {
  const KdTree<T>& t = a.tree;
  gather(a, q, leaf);
  if (q.count == 0) return;
  const std::int64_t own = t.leaf_count() + leaf;
  visit(a, q, leaf);
  std::int64_t waiting = 0;
  q.stack[waiting++] = 1;
  while (waiting > 0) {
    const std::int64_t node = q.stack[--waiting];
    if (node == own || !may_enter(t, q, node)) continue;
    if (node >= t.leaf_count()) {
      visit(a, q, node - t.leaf_count());
      continue;
    }
    const bool second = between_middles(t, q, 2 * node + 1) < between_middles(t, q, 2 * node);
    q.stack[waiting++] = 2 * node + !second;
    q.stack[waiting++] = 2 * node + second;
  }
  for (std::int64_t query = 0; query < q.count; ++query) settle(a, q, query);
}

}  // namespace

template <typename T>
std::int64_t kd_scratch_bytes(const KdSearchArgs<T>& a) {
  Pieces pieces{nullptr, 0};
  lay_out(a, pieces);
  return pieces.used + 64;  // the last piece counts the leaves
}

template <typename T>
std::int64_t kd_search(const KdSearchArgs<T>& a, unsigned char* scratch, int threads) {
  const std::int64_t bytes = kd_scratch_bytes(a), leaves = a.tree.leaf_count();
  const auto counter = [&](int thread) { return reinterpret_cast<std::int64_t*>(scratch + (thread + 1) * bytes - 64); };
  for (int thread = 0; thread < threads; ++thread) *counter(thread) = 0;
#if defined(_OPENMP)
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1 && leaves > 1)
#endif
  for (std::int64_t leaf = 0; leaf < leaves; ++leaf) {
    const int thread = thread_index();
    Pieces pieces{scratch + thread * bytes, 0};
    LeafQueries<T> q = lay_out(a, pieces);
    search_leaf(a, q, leaf);
    *counter(thread) += q.leaves_read;
  }
  std::int64_t total = 0;
  for (int thread = 0; thread < threads; ++thread) total += *counter(thread);
  return total;
}

template std::int64_t kd_scratch_bytes<float>(const KdSearchArgs<float>&);
template std::int64_t kd_scratch_bytes<double>(const KdSearchArgs<double>&);
template std::int64_t kd_search<float>(const KdSearchArgs<float>&, unsigned char*, int);
template std::int64_t kd_search<double>(const KdSearchArgs<double>&, unsigned char*, int);

}  // namespace gmvae::GMVAE_ISA
