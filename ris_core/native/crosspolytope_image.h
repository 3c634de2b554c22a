// The index as one block of memory, laid out as it is in a file: a header, then the arrays of each table.
//
// Saving writes the block, loading reads or maps it; nothing is converted. The base vectors are not in it: features
// already lie in a file of their own, which may be mapped too. The header holds a digest of them instead.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "crosspolytope_kernels.h"

namespace ris {

// A file that is no index, a damaged one, or one that cannot be read or written.
struct IndexFileError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

constexpr std::uint32_t kMaxBits = 30;
constexpr std::uint32_t kMaxTables = 1u << 16;
constexpr std::uint32_t kMaxRotations = 1u << 10;
constexpr std::int64_t kMaxDimension = 1 << 16;  // of what is hashed: sums of look-ups must fit 16 bits

enum class Distance : std::uint32_t { kEuclidean = 0, kCosine = 1, kInnerProduct = 2 };

// All that the layout depends on, and what a query must know. Fixed-size numbers in the CPU's own byte order.
struct ImageHeader {
  char magic[8];
  std::uint32_t version;
  std::uint32_t byte_order;
  std::int64_t n;
  std::int64_t dimension;  // of the base
  std::uint32_t is_hyperplane;
  std::uint32_t distance;
  std::uint32_t tables;
  std::uint32_t bits;
  std::uint32_t rotations;
  std::uint32_t hashed;       // leading principal coordinates that are hashed; 0 for the vectors as they come
  std::uint32_t coordinates;  // principal coordinates that are computed
  std::uint32_t groups;       // of a sketch, padded to a multiple of kGroupsAtOnce; 0 without sketches
  std::uint64_t seed;
  float longest;  // norm of the base's longest vector, for inner products
  std::uint32_t reserved;
  std::uint64_t base_digest;
  std::uint64_t body_checksum;
  std::uint64_t header_checksum;  // of everything before it
};

// Dimension of the vectors that are projected: inner products append a coordinate.
std::int64_t lifted_dimension(const ImageHeader& header);

// What all tables share.
template <typename Number, typename Real>
struct SharedArrays {
  Real* axes;        // (coordinates, lifted dimension), orthonormal rows
  Number* members;   // (groups, kMaxWidth)
  Real* centroids;   // (groups, kMaxWidth, 16)
};
using Shared = SharedArrays<const std::uint32_t, const float>;
using MutableShared = SharedArrays<std::uint32_t, float>;

// The arrays of one table. Buckets hold positions starts[code] to starts[code + 1] - 1, in which rows and sketches lie.
template <typename Byte, typename Number, typename Real>
struct TableArrays {
  Number* starts;  // 2^bits + 1
  Number* rows;    // n
  Real* offsets;   // n, rounded up to whole blocks; the rest only with sketches
  Real* scales;
  Byte* blocks;
};
using Table = TableArrays<const std::uint8_t, const std::uint32_t, const float>;
using MutableTable = TableArrays<std::uint8_t, std::uint32_t, float>;

class Image {
 public:
  // Zeros, but for the header, which is completed by magic, version and byte order.
  explicit Image(const ImageHeader& header);
  // Throws IndexFileError unless the file is whole and safe to search. Mapped, only what a search's safety hangs on is
  // read and checked at once, buckets and rows, and sketches are read when they are needed; the file must not change.
  Image(const std::string& path, bool is_mapped);
  ~Image();
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;

  const ImageHeader& header() const { return *reinterpret_cast<const ImageHeader*>(data_); }
  ImageHeader& header() { return *reinterpret_cast<ImageHeader*>(data_); }
  Shared shared() const;
  MutableShared mutable_shared();
  Table table(int number) const;
  MutableTable mutable_table(int number);
  std::size_t size_bytes() const { return size_; }

  // Writes checksums into the header; the last step of a build.
  void seal();
  // Into a file beside it first, which then takes its place: a file that is mapped stays whole for those who map it.
  void save(const std::string& path) const;

 private:
  void check_shared(const std::string& path) const;
  void check_tables(const std::string& path) const;
  void release();

  std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
  bool is_mapped_ = false;
};

// Bytes of an index of such a header.
std::size_t image_bytes(const ImageHeader& header);

// A number that changes with any of the bytes.
std::uint64_t checksum(const void* bytes, std::size_t count);

}  // namespace ris
