// Chains of dense layers and their gradients.
#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>

#include "kernels.h"
#include "threads.h"
#include "vector_math.h"

namespace gmvae::GMVAE_ISA {
namespace {

constexpr std::int64_t kRows = 128;  // taken through the chain together: what a layer leaves is in the second cache
constexpr int kWidth = Lanes<float>::width;

// --- float32 and bfloat16 in memory, float32 in registers ---

typedef std::uint16_t Halves __attribute__((vector_size(kVectorBytes / 2)));
typedef std::uint32_t Words __attribute__((vector_size(kVectorBytes)));

GMVAE_HD Vec<float> read(const float* p) { return load(p); }

GMVAE_HD Vec<float> read(const BFloat16* p) {
  Halves bits;
  std::memcpy(&bits, p, sizeof(bits));
  return reinterpret_cast<Vec<float>>(__builtin_convertvector(bits, Words) << 16);
}

GMVAE_HD void write(float* p, Vec<float> v) { store(p, v); }

GMVAE_HD void write(BFloat16* p, Vec<float> v) {
  const Words bits = reinterpret_cast<Words>(v);
  const Words nearest = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const Words quiet = (bits >> 16) | 0x40u;
  const Halves narrow = __builtin_convertvector(v == v ? nearest : quiet, Halves);
  std::memcpy(p, &narrow, sizeof(narrow));
}

// The first `count` lanes; the rest are 0.
template <typename T>
GMVAE_HD Vec<float> read_some(const T* p, std::int64_t count) {
  T padded[kWidth] = {};
  std::copy(p, p + count, padded);
  return read(padded);
}

template <typename T>
GMVAE_HD void write_some(T* p, Vec<float> v, std::int64_t count) {
  T padded[kWidth];
  write(padded, v);
  std::copy(padded, padded + count, p);
}

// Calls body(first column, lanes, full) over columns, `full` a compile-time truth.
template <class Body>
GMVAE_HD void for_each_vector(std::int64_t columns, const Body& body) {
  std::int64_t c = 0;
  for (; c + kWidth <= columns; c += kWidth) body(c, kWidth, std::true_type{});
  if (c < columns) body(c, columns - c, std::false_type{});
}

template <class Full, typename T>
GMVAE_HD Vec<float> take(Full, const T* p, std::int64_t count) {
  if constexpr (Full::value)
    return read(p);
  else
    return read_some(p, count);
}

template <class Full, typename T>
GMVAE_HD void put(Full, T* p, Vec<float> v, std::int64_t count) {
  if constexpr (Full::value)
    write(p, v);
  else
    write_some(p, v, count);
}

template <typename From, typename To>
void convert(const From* from, std::int64_t entries, To* to) {
  for_each_vector(entries, [&](std::int64_t c, std::int64_t count, auto full) {
    put(full, to + c, take(full, from + c, count), count);
  });
}

// --- activations: value and derivative, NaN kept as torch keeps it ---

struct Both {
  Vec<float> value, derivative;
};

template <Activation kind>
GMVAE_HD Both activated(Vec<float> z, float slope) {
  if constexpr (kind == Activation::kSilu) {
    const Vec<float> s = 1.0f / (1.0f + vector_exp<float>(-z));
    return {z * s, s * (1.0f + z * (1.0f - s))};
  } else if constexpr (kind == Activation::kRelu) {
    return {z < 0.0f ? splat(0.0f) : z, z <= 0.0f ? splat(0.0f) : splat(1.0f)};
  } else if constexpr (kind == Activation::kLeakyRelu) {
    return {z > 0.0f ? z : z * slope, z > 0.0f ? splat(1.0f) : splat(slope)};
  } else {
    return {z, splat(1.0f)};
  }
}

// out = activation(z + bias) and its derivative, of [rows, columns] in a row; out may be z.
template <Activation kind, typename T>
void activate(const T* z, const float* bias, std::int64_t rows, std::int64_t columns, float slope, T* out,
              T* derivative) {
  for (std::int64_t r = 0; r < rows; ++r, z += columns, out += columns) {
    for_each_vector(columns, [&](std::int64_t c, std::int64_t count, auto full) {
      Vec<float> value = take(full, z + c, count);
      if (bias) value += take(full, bias + c, count);
      const Both both = activated<kind>(value, slope);
      put(full, out + c, both.value, count);
      if (derivative) put(full, derivative + c, both.derivative, count);
    });
    if (derivative) derivative += columns;
  }
}

template <typename T>
void activate(Activation kind, const T* z, const float* bias, std::int64_t rows, std::int64_t columns, float slope,
              T* out, T* derivative) {
  switch (kind) {
    case Activation::kNone: return activate<Activation::kNone>(z, bias, rows, columns, slope, out, derivative);
    case Activation::kSilu: return activate<Activation::kSilu>(z, bias, rows, columns, slope, out, derivative);
    case Activation::kRelu: return activate<Activation::kRelu>(z, bias, rows, columns, slope, out, derivative);
    case Activation::kLeakyRelu:
      return activate<Activation::kLeakyRelu>(z, bias, rows, columns, slope, out, derivative);
  }
}

// out = grad * factor, or grad where there is no factor.
template <typename T>
void multiply(const T* grad, const T* factor, std::int64_t entries, T* out) {
  for_each_vector(entries, [&](std::int64_t c, std::int64_t count, auto full) {
    const Vec<float> value = take(full, grad + c, count);
    put(full, out + c, factor ? value * take(full, factor + c, count) : value, count);
  });
}

// sums[begin..end) over rows of values [rows, columns]; partial sums keep the error of many rows down.
template <typename T>
void column_sums(const T* values, std::int64_t rows, std::int64_t columns, std::int64_t begin, std::int64_t end,
                 float* sums) {
  constexpr std::int64_t kTogether = 64;
  for_each_vector(end - begin, [&](std::int64_t c, std::int64_t count, auto full) {
    Vec<float> total = splat(0.0f);
    for (std::int64_t first = 0; first < rows; first += kTogether) {
      Vec<float> part = splat(0.0f);
      for (std::int64_t r = first; r < std::min(rows, first + kTogether); ++r) {
        part += take(full, values + r * columns + begin + c, count);
      }
      total += part;
    }
    put(full, sums + begin + c, total, count);
  });
}

// --- matrices as torch sees them ---

template <typename T>
std::int32_t type_number(const TorchProducts& torch) {
  return sizeof(T) == sizeof(float) ? torch.float32 : torch.bfloat16;
}

// A view of memory, or the result of a product with its memory.
template <typename T>
class Matrix {
 public:
  Matrix(const TorchProducts& torch, const T* data, std::int64_t rows, std::int64_t columns, std::int64_t row_stride,
         std::int64_t column_stride = 1)
      : torch_(&torch), data_(const_cast<T*>(data)) {
    const std::int64_t sizes[] = {rows, columns}, strides[] = {row_stride, column_stride};
    if (torch.wrap(data_, 2, sizes, strides, 0, type_number<T>(torch), 0, 0, &handle_) != 0) handle_ = nullptr;
  }
  Matrix(Matrix&& other) noexcept { *this = std::move(other); }
  Matrix& operator=(Matrix&& other) noexcept {
    std::swap(torch_, other.torch_);
    std::swap(handle_, other.handle_);
    std::swap(data_, other.data_);
    std::swap(memory_, other.memory_);
    return *this;
  }
  Matrix(const Matrix&) = delete;
  Matrix& operator=(const Matrix&) = delete;
  ~Matrix() {
    if (handle_) torch_->release(handle_);
  }

  explicit operator bool() const { return handle_ != nullptr; }
  T* data() const { return data_; }
  void* handle() const { return handle_; }

  // x weight', of x [rows, inner] and weight [columns, inner] in memory of the given strides; false when it fails.
  static Matrix product(const TorchProducts& torch, const Matrix& x, std::int64_t rows, const T* weight,
                        std::int64_t columns, std::int64_t inner, std::int64_t row_stride, std::int64_t column_stride) {
    if (!x) return {};
    if (torch.linear) {
      const Matrix factor(torch, weight, columns, inner, row_stride, column_stride);
      Matrix result;
      void *handle = nullptr, *address = nullptr;
      if (!factor || torch.linear(x.handle_, factor.handle_, nullptr, "none", nullptr, 0, nullptr, &handle) != 0) {
        return {};
      }
      result.torch_ = &torch;
      result.handle_ = handle;
      if (torch.data(handle, &address) != 0) return {};
      result.data_ = static_cast<T*>(address);
      return result;
    }
    const Matrix factor(torch, weight, inner, columns, column_stride, row_stride);
    std::unique_ptr<T[]> memory(new T[static_cast<std::size_t>(rows * columns)]);
    Matrix result(torch, memory.get(), rows, columns, columns);
    result.memory_ = std::move(memory);
    if (!factor || !result || torch.mm_out(result.handle_, x.handle_, factor.handle_) != 0) return {};
    return result;
  }

 private:
  Matrix() = default;

  const TorchProducts* torch_ = nullptr;
  void* handle_ = nullptr;
  T* data_ = nullptr;
  std::unique_ptr<T[]> memory_;
};

// out [end - begin, columns] = grad[:, begin:end]' x, of n rows.
template <typename T>
bool weight_gradient(const TorchProducts& torch, const T* grad, std::int64_t width, std::int64_t begin,
                     std::int64_t end, const T* x, std::int64_t n, std::int64_t columns, float* out) {
  const Matrix<T> first(torch, grad + begin, end - begin, n, 1, width), second(torch, x, n, columns, columns);
  if (!first || !second) return false;
  if constexpr (sizeof(T) == sizeof(float)) {
    const Matrix<T> result(torch, out, end - begin, columns, columns);
    return result && torch.mm_out(result.handle(), first.handle(), second.handle()) == 0;
  } else {
    const std::unique_ptr<T[]> memory(new T[static_cast<std::size_t>((end - begin) * columns)]);
    const Matrix<T> result(torch, memory.get(), end - begin, columns, columns);
    if (!result || torch.mm_out(result.handle(), first.handle(), second.handle()) != 0) return false;
    convert(memory.get(), (end - begin) * columns, out);
    return true;
  }
}

template <typename T>
bool rows_forward(const DenseChainArgs<T>& a, std::int64_t begin, std::int64_t rows) {
  Matrix<T> x(a.torch, a.x + begin * a.widths[0], rows, a.widths[0], a.widths[0]);
  for (int l = 0; l < a.layers; ++l) {
    const std::int64_t in = a.widths[l], out = a.widths[l + 1];
    Matrix<T> z = Matrix<T>::product(a.torch, x, rows, a.weights[l], out, in, in, 1);
    if (!z) return false;
    T* const kept = a.outputs[l] ? a.outputs[l] + begin * out : nullptr;
    T* const derivative = a.derivatives[l] ? a.derivatives[l] + begin * out : nullptr;
    activate(a.activations[l], z.data(), a.biases[l], rows, out, a.slopes[l], kept ? kept : z.data(), derivative);
    x = kept ? Matrix<T>(a.torch, kept, rows, out, out) : std::move(z);
  }
  return true;
}

template <typename T>
bool rows_backward(const DenseChainBackwardArgs<T>& a, std::int64_t begin, std::int64_t rows) {
  const int last = a.layers - 1;
  if (a.before[last]) {
    const std::int64_t first = begin * a.widths[a.layers];
    multiply(a.grad + first, a.derivatives[last] + first, rows * a.widths[a.layers], a.before[last] + first);
  }
  for (int l = last; l > 0 || (l == 0 && a.grad_x); --l) {
    const std::int64_t in = a.widths[l], out = a.widths[l + 1];
    const Matrix<T> grad(a.torch, (a.before[l] ? a.before[l] : a.grad) + begin * out, rows, out, out);
    const Matrix<T> of_input = Matrix<T>::product(a.torch, grad, rows, a.weights[l], in, out, 1, in);
    if (!of_input) return false;
    const T* const factor = l > 0 && a.derivatives[l - 1] ? a.derivatives[l - 1] + begin * in : nullptr;
    multiply(of_input.data(), factor, rows * in, (l > 0 ? a.before[l - 1] : a.grad_x) + begin * in);
  }
  return true;
}

// Blocks of rows, as equal as they can be, for each thread.
template <class Body>
bool for_each_block(std::int64_t n, int threads, const Body& body) {
  std::atomic<bool> good{true};
  for_each_part(threads, [&](int part) {
    const std::int64_t first = n * part / threads, size = n * (part + 1) / threads - first;
    const std::int64_t blocks = (size + kRows - 1) / kRows;
    for (std::int64_t b = 0; b < blocks && good; ++b) {
      const std::int64_t begin = size * b / blocks;
      if (!body(first + begin, size * (b + 1) / blocks - begin)) good = false;
    }
  });
  return good;
}

}  // namespace

template <typename T>
bool dense_chain(const DenseChainArgs<T>& a, int threads) {
  return for_each_block(a.n, threads,
                        [&](std::int64_t begin, std::int64_t rows) { return rows_forward(a, begin, rows); });
}

template <typename T>
bool dense_chain_backward(const DenseChainBackwardArgs<T>& a, int threads) {
  if (!for_each_block(a.n, threads,
                      [&](std::int64_t begin, std::int64_t rows) { return rows_backward(a, begin, rows); })) {
    return false;
  }
  if (!a.grad_weights) return true;
  std::atomic<bool> good{true};
  for_each_part(threads, [&](int part) {
    for (int l = 0; l < a.layers && good; ++l) {
      const std::int64_t in = a.widths[l], out = a.widths[l + 1];
      const std::int64_t begin = out * part / threads, end = out * (part + 1) / threads;
      if (begin == end) continue;
      const T* const grad = a.before[l] ? a.before[l] : a.grad;
      const T* const x = l > 0 ? a.outputs[l - 1] : a.x;
      if (!weight_gradient(a.torch, grad, out, begin, end, x, a.n, in, a.grad_weights[l] + begin * in)) good = false;
      if (a.grad_biases[l]) column_sums(grad, a.n, out, begin, end, a.grad_biases[l]);
    }
  });
  return good;
}

template <typename T>
void round_arrays(const RoundArraysArgs<T>& a, int threads) {
  std::int64_t total = 0;
  for (int i = 0; i < a.count; ++i) total += a.sizes[i];
  for_each_range(total, total, threads, [&](std::int64_t begin, std::int64_t end) {
    for (int i = 0; i < a.count && end > 0; ++i) {  // begin and end count from the start of array i
      const std::int64_t first = std::max<std::int64_t>(begin, 0), last = std::min(end, a.sizes[i]);
      if (first < last) convert(a.from[i] + first, last - first, a.to[i] + first);
      begin -= a.sizes[i];
      end -= a.sizes[i];
    }
  });
}

template bool dense_chain<float>(const DenseChainArgs<float>&, int);
template bool dense_chain<BFloat16>(const DenseChainArgs<BFloat16>&, int);
template bool dense_chain_backward<float>(const DenseChainBackwardArgs<float>&, int);
template bool dense_chain_backward<BFloat16>(const DenseChainBackwardArgs<BFloat16>&, int);
template void round_arrays<float>(const RoundArraysArgs<float>&, int);

}  // namespace gmvae::GMVAE_ISA
