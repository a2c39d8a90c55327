#pragma once
// A block's columns in groups whose width the compiler knows.
#include <cstdint>
#include <type_traits>

namespace gmvae {

// Calls body(std::integral_constant<int, W>, first) for groups of W adjacent columns that cover `width`: sixteen,
// eight, and one group of what is left.
template <class Body>
void for_column_groups(std::int64_t width, const Body& body) {
  std::int64_t first = 0;
  for (; first + 16 <= width; first += 16) body(std::integral_constant<int, 16>(), first);
  for (; first + 8 <= width; first += 8) body(std::integral_constant<int, 8>(), first);
  switch (width - first) {
    case 1: return body(std::integral_constant<int, 1>(), first);
    case 2: return body(std::integral_constant<int, 2>(), first);
    case 3: return body(std::integral_constant<int, 3>(), first);
    case 4: return body(std::integral_constant<int, 4>(), first);
    case 5: return body(std::integral_constant<int, 5>(), first);
    case 6: return body(std::integral_constant<int, 6>(), first);
    case 7: return body(std::integral_constant<int, 7>(), first);
    default: return;
  }
}

}  // namespace gmvae
