// Arrays of Python's: what both bindings take and give, and the checks that memory safety needs.
#pragma once

#include <nanobind/ndarray.h>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace ris {

namespace nb = nanobind;

// Read-only float32 rows. With noconvert() nanobind refuses what it would otherwise copy.
using Matrix = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Array = nb::ndarray<nb::numpy, T>;

constexpr float kLargest = 1e15f;  // squares of larger values, summed, leave the range of float

inline void require(bool is_fine, const std::string& otherwise) {
  if (!is_fine) throw std::invalid_argument(otherwise);
}

// Both engines sort by computed values: a NaN, given or from an overflow, would send std::sort out of its range.
inline void require_sane(const Matrix& matrix, const char* what) {
  const float* values = matrix.data();
  bool is_sane = true;
  for (std::size_t i = 0; i < matrix.size(); ++i) is_sane &= values[i] >= -kLargest && values[i] <= kLargest;
  require(is_sane, std::string(what) + " hold a value that is NaN, infinite or beyond 1e15");
}

template <typename T>
Array<T> to_array(std::vector<T>&& values, std::vector<std::size_t> shape) {
  auto* kept = new std::vector<T>(std::move(values));
  nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return Array<T>(kept->data(), shape.size(), shape.data(), owner);
}

}  // namespace ris
