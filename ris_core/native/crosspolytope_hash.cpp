#include "crosspolytope_hash.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace ris {
namespace {

constexpr int kSmallestSize = 16;  // one vector of the widest kernels

int log2_ceil(std::int64_t x) {
  int bits = 0;
  while ((std::int64_t{1} << bits) < x) ++bits;
  return bits;
}

// Source: Steele, Lea, Flood 2014, Fast Splittable Pseudorandom Number Generators.
std::uint64_t splitmix64(std::uint64_t seed, std::uint64_t number) {
  std::uint64_t z = seed + number * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

std::vector<float> random_signs(std::size_t count, std::uint64_t seed, float magnitude) {
  std::vector<float> signs(count);
  for (std::size_t i = 0; i < count; ++i) {
    const bool is_flipped = (splitmix64(seed, i / 64 + 1) >> (i % 64) & 1) != 0;
    signs[i] = is_flipped ? -magnitude : magnitude;
  }
  return signs;
}

}  // namespace

HashFunctions::HashFunctions(const HashSettings& settings, const Kernels& kernels)
    : settings_(settings), kernels_(kernels), size_(std::max(kSmallestSize, 1 << log2_ceil(settings.dimension))) {
  const int full_bits = log2_ceil(size_) + 1;
  per_table_ = settings.is_hyperplane ? settings.bits : (settings.bits + full_bits - 1) / full_bits;
  const int last_bits = settings.bits - (per_table_ - 1) * full_bits;
  const std::int64_t functions = std::int64_t{settings.tables} * per_table_;
  copies_ = static_cast<int>(settings.is_hyperplane ? (functions + size_ - 1) / size_ : functions);
  if (copies_ * (settings.rotations + std::int64_t{1}) * size_ > kMaxRotated)
    throw std::invalid_argument("tables x hash functions x rotated dimension x (rotations + 1) must be at most 2^28");
  for (int number = 0; number < functions; ++number) {
    if (settings.is_hyperplane) {
      functions_.push_back({number, 1, 1});
    } else {
      const int bits = (number + 1) % per_table_ == 0 ? last_bits : full_bits;
      functions_.push_back({std::int64_t{number} * size_, 1 << (bits - 1), bits});
    }
  }
  signs_ = random_signs((1 + copies_ * static_cast<std::size_t>(settings.rotations)) * size_, settings.seed,
                        1 / std::sqrt(static_cast<float>(size_)));
}

void HashFunctions::rotate(float* vector, int& rotation) const {
  for (int i = 0; i < settings_.rotations; ++i)
    kernels_.rotate(vector, signs_.data() + static_cast<std::size_t>(rotation++) * size_, size_);
}

void HashFunctions::codes(float* vector, std::uint32_t* codes) const {
  int rotation = 1;
  kernels_.rotate(vector, signs_.data(), size_);
  std::fill_n(codes, settings_.tables, 0);
  for (int number = 0, copy = -1; number < static_cast<int>(functions_.size()); ++number) {
    const Function& function = functions_[number];
    for (; copy < function.first / size_; ++copy) rotate(vector, rotation);
    const float* values = vector + function.first % size_;
    const int coordinate = kernels_.argmax_abs(values, function.dimension);
    std::uint32_t& code = codes[number / per_table_];
    code = code << function.bits | vertex(coordinate, values[coordinate] < 0, function.dimension);
  }
}

void HashFunctions::rotate_copies(float* vector, float* copies) const {
  int rotation = 1;
  kernels_.rotate(vector, signs_.data(), size_);
  for (int copy = 0; copy < copies_; ++copy) {
    rotate(vector, rotation);
    std::copy_n(vector, size_, copies + static_cast<std::size_t>(copy) * size_);
  }
}

}  // namespace ris
