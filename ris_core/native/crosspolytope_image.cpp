#include "crosspolytope_image.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

namespace ris {
namespace {

constexpr char kMagic[8] = {'R', 'I', 'S', 'C', 'P', 'L', 'S', 'H'};
constexpr std::uint32_t kVersion = 1;
constexpr std::uint32_t kByteOrder = 0x01020304;
constexpr std::size_t kAlignment = 64;         // a cache line, and a vector of the widest kernels
constexpr float kLargestCoordinate = 1e18f;    // of a vector of 65,535 values up to 1e15
constexpr std::size_t kHugePage = std::size_t{2} << 20;

std::size_t aligned(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

std::size_t blocks_of(const ImageHeader& header) { return (header.n + kBlockPoints - 1) / kBlockPoints; }

// Where the arrays of one table begin, in bytes from the table's start, and where it ends.
struct TableLayout {
  std::size_t starts, rows, offsets, scales, blocks, end;
};

TableLayout layout_of(const ImageHeader& header) {
  const std::size_t points = header.groups > 0 ? blocks_of(header) * kBlockPoints : 0;
  TableLayout layout;
  layout.starts = 0;
  layout.rows = layout.starts + aligned(((std::size_t{1} << header.bits) + 1) * sizeof(std::uint32_t));
  layout.offsets = layout.rows + aligned(header.n * sizeof(std::uint32_t));
  layout.scales = layout.offsets + aligned(points * sizeof(float));
  layout.blocks = layout.scales + aligned(points * sizeof(float));
  layout.end = layout.blocks + aligned(points / kBlockPoints * header.groups * kGroupBytes);
  return layout;
}

// The same for what all tables share.
struct SharedLayout {
  std::size_t axes, members, centroids, end;
};

SharedLayout shared_layout_of(const ImageHeader& header) {
  SharedLayout layout;
  layout.axes = 0;
  layout.members = layout.axes + aligned(header.coordinates * lifted_dimension(header) * sizeof(float));
  layout.centroids = layout.members + aligned(std::size_t{header.groups} * kMaxWidth * sizeof(std::uint32_t));
  layout.end = layout.centroids + aligned(std::size_t{header.groups} * kMaxWidth * kCentroids * sizeof(float));
  return layout;
}

constexpr std::size_t kBody = (sizeof(ImageHeader) + kAlignment - 1) / kAlignment * kAlignment;

std::uint64_t header_checksum(const ImageHeader& header) {
  return checksum(&header, offsetof(ImageHeader, header_checksum));
}

[[noreturn]] void fail(const std::string& path, const std::string& finding) {
  throw IndexFileError(path + " " + finding);
}

// Closes the file at the end of a scope.
struct File {
  File(const std::string& path, int flags) : descriptor(open(path.c_str(), flags | O_CLOEXEC, 0666)) {
    if (descriptor < 0) fail(path, std::string("cannot be opened: ") + std::strerror(errno));
  }
  ~File() {
    if (descriptor >= 0) close(descriptor);
  }
  int descriptor;
};

void read_exactly(const File& file, std::uint8_t* to, std::size_t count, const std::string& path) {
  while (count > 0) {
    const ssize_t done = read(file.descriptor, to, count);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) fail(path, "cannot be read to its end");
    to += done;
    count -= done;
  }
}

void write_exactly(const File& file, const std::uint8_t* from, std::size_t count, const std::string& path) {
  while (count > 0) {
    const ssize_t done = write(file.descriptor, from, count);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail(path, std::string("cannot be written: ") + std::strerror(errno));
    from += done;
    count -= done;
  }
  if (fsync(file.descriptor) != 0) fail(path, std::string("cannot be written: ") + std::strerror(errno));
}

std::uint8_t* allocate(std::size_t size) {
  const std::size_t alignment = size >= kHugePage ? kHugePage : kAlignment;
  void* memory = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  if (alignment == kHugePage) madvise(memory, size, MADV_HUGEPAGE);  // fewer address translations; advice only
#endif
  return static_cast<std::uint8_t*>(memory);
}

}  // namespace

std::uint64_t checksum(const void* bytes, std::size_t count) {
  const auto* p = static_cast<const std::uint8_t*>(bytes);
  constexpr std::uint64_t kOdd = 0x9E3779B97F4A7C15u;
  std::uint64_t lanes[4] = {count, kOdd, ~kOdd, 1};
  const auto mix = [&](std::uint64_t& lane, const std::uint8_t* from, std::size_t size) {
    std::uint64_t word = 0;
    std::memcpy(&word, from, size);
    lane = (lane ^ word) * kOdd;
    lane ^= lane >> 32;
  };
  std::size_t i = 0;
  for (; i + 32 <= count; i += 32)
    for (int lane = 0; lane < 4; ++lane) mix(lanes[lane], p + i + 8 * lane, 8);
  for (; i < count; i += 8) mix(lanes[0], p + i, std::min<std::size_t>(8, count - i));
  for (int lane = 1; lane < 4; ++lane) mix(lanes[0], reinterpret_cast<const std::uint8_t*>(&lanes[lane]), 8);
  return lanes[0];
}

std::int64_t lifted_dimension(const ImageHeader& header) {
  return header.dimension + (header.distance == static_cast<std::uint32_t>(Distance::kInnerProduct) ? 1 : 0);
}

std::size_t image_bytes(const ImageHeader& header) {
  return kBody + shared_layout_of(header).end + header.tables * layout_of(header).end;
}

namespace {

// Before anything is allocated by its numbers.
void check_header(const ImageHeader& h, std::size_t file_size, const std::string& path) {
  if (std::memcmp(h.magic, kMagic, sizeof kMagic) != 0) fail(path, "is no index of the engine crosspolytope");
  if (h.byte_order != kByteOrder) fail(path, "was written on a CPU of the other byte order");
  if (h.version != kVersion)
    fail(path, "has version " + std::to_string(h.version) + "; this program reads " + std::to_string(kVersion));
  if (h.header_checksum != header_checksum(h)) fail(path, "is damaged: its header does not have its checksum");
  const bool is_sane = h.n >= 1 && h.n < (std::int64_t{1} << 31) && h.dimension >= 1 &&
                       h.dimension < kMaxDimension && h.distance <= 2 && h.tables >= 1 && h.tables <= kMaxTables &&
                       h.bits >= 1 && h.bits <= kMaxBits && h.rotations >= 1 && h.rotations <= kMaxRotations &&
                       h.coordinates <= lifted_dimension(h) && h.hashed <= h.coordinates &&
                       h.groups <= lifted_dimension(h) + kGroupsAtOnce && h.groups % kGroupsAtOnce == 0 &&
                       h.is_hyperplane <= 1 && h.longest >= 0 && std::isfinite(h.longest);
  if (!is_sane) fail(path, "states an impossible shape");
  if (image_bytes(h) != file_size)
    fail(path, "has " + std::to_string(file_size) + " bytes where its header announces " +
                   std::to_string(image_bytes(h)) + ": it is cut off or overlong");
}

}  // namespace

Image::Image(const ImageHeader& header) : size_(image_bytes(header)) {
  data_ = allocate(size_);
  std::memset(data_, 0, size_);
  this->header() = header;
  std::memcpy(this->header().magic, kMagic, sizeof kMagic);
  this->header().version = kVersion;
  this->header().byte_order = kByteOrder;
}

Image::Image(const std::string& path, bool is_mapped) : is_mapped_(is_mapped) {
  const File file(path, O_RDONLY);
  struct stat status;
  if (fstat(file.descriptor, &status) != 0 || !S_ISREG(status.st_mode)) fail(path, "is no regular file");
  size_ = status.st_size;
  if (size_ < kBody) fail(path, "is too short to be an index");
  std::uint8_t start[kBody];
  read_exactly(file, start, kBody, path);
  ImageHeader announced;
  std::memcpy(&announced, start, sizeof announced);
  check_header(announced, size_, path);
  if (is_mapped) {
    void* mapped = mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.descriptor, 0);
    if (mapped == MAP_FAILED) fail(path, std::string("cannot be mapped: ") + std::strerror(errno));
    data_ = static_cast<std::uint8_t*>(mapped);
  } else {
    data_ = allocate(size_);
  }
  try {
    if (!is_mapped) {
      std::memcpy(data_, start, kBody);
      read_exactly(file, data_ + kBody, size_ - kBody, path);
      if (checksum(data_ + kBody, size_ - kBody) != header().body_checksum)
        fail(path, "is damaged: its tables do not have the checksum that its header states");
    }
    check_shared(path);
    check_tables(path);
  } catch (...) {
    release();
    throw;
  }
}

Image::~Image() { release(); }

void Image::release() {
  if (is_mapped_) {
    munmap(data_, size_);
  } else {
    std::free(data_);
  }
}

// What a search trusts blindly: finite numbers, and groups that lie within the coordinates.
void Image::check_shared(const std::string& path) const {
  const Shared s = shared();
  bool is_sound = true;
  for (std::uint32_t i = 0; i < header().groups * kMaxWidth; ++i)
    is_sound &= s.members[i] < header().coordinates || s.members[i] == kNoMember;
  const std::size_t axes = header().coordinates * lifted_dimension(header());
  for (std::size_t i = 0; i < axes; ++i) is_sound &= std::fabs(s.axes[i]) <= 1.001f;
  const std::size_t centroids = std::size_t{header().groups} * kMaxWidth * kCentroids;
  for (std::size_t i = 0; i < centroids; ++i) is_sound &= std::fabs(s.centroids[i]) <= kLargestCoordinate;
  if (!is_sound) fail(path, "is damaged: its axes or centroids are impossible");
}

// What a search trusts blindly: buckets that lie within the table, and rows that lie within the base.
void Image::check_tables(const std::string& path) const {
  const std::uint32_t n = static_cast<std::uint32_t>(header().n);
  const std::size_t buckets = std::size_t{1} << header().bits;
  for (std::uint32_t number = 0; number < header().tables; ++number) {
    const Table t = table(number);
    bool is_sound = t.starts[0] == 0 && t.starts[buckets] == n;
    for (std::size_t code = 0; code < buckets; ++code) is_sound &= t.starts[code] <= t.starts[code + 1];
    std::vector<bool> is_there(n, false);
    for (std::uint32_t i = 0; is_sound && i < n; ++i) {
      is_sound = t.rows[i] < n && !is_there[t.rows[i]];
      if (is_sound) is_there[t.rows[i]] = true;
    }
    if (!is_sound) fail(path, "is damaged: table " + std::to_string(number) + " does not hold each row once");
  }
}

Shared Image::shared() const {
  const SharedLayout layout = shared_layout_of(header());
  const std::uint8_t* from = data_ + kBody;
  return {reinterpret_cast<const float*>(from + layout.axes),
          reinterpret_cast<const std::uint32_t*>(from + layout.members),
          reinterpret_cast<const float*>(from + layout.centroids)};
}

MutableShared Image::mutable_shared() {
  const SharedLayout layout = shared_layout_of(header());
  std::uint8_t* from = data_ + kBody;
  return {reinterpret_cast<float*>(from + layout.axes), reinterpret_cast<std::uint32_t*>(from + layout.members),
          reinterpret_cast<float*>(from + layout.centroids)};
}

Table Image::table(int number) const {
  const TableLayout layout = layout_of(header());
  const std::uint8_t* from = data_ + kBody + shared_layout_of(header()).end + number * layout.end;
  return {reinterpret_cast<const std::uint32_t*>(from + layout.starts),
          reinterpret_cast<const std::uint32_t*>(from + layout.rows),
          reinterpret_cast<const float*>(from + layout.offsets), reinterpret_cast<const float*>(from + layout.scales),
          from + layout.blocks};
}

MutableTable Image::mutable_table(int number) {
  const TableLayout layout = layout_of(header());
  std::uint8_t* from = data_ + kBody + shared_layout_of(header()).end + number * layout.end;
  return {reinterpret_cast<std::uint32_t*>(from + layout.starts), reinterpret_cast<std::uint32_t*>(from + layout.rows),
          reinterpret_cast<float*>(from + layout.offsets), reinterpret_cast<float*>(from + layout.scales),
          from + layout.blocks};
}

void Image::seal() {
  header().body_checksum = checksum(data_ + kBody, size_ - kBody);
  header().header_checksum = header_checksum(header());
}

void Image::save(const std::string& path) const {
  const std::string part = path + ".part";
  try {
    write_exactly(File(part, O_WRONLY | O_CREAT | O_TRUNC), data_, size_, part);
    if (std::rename(part.c_str(), path.c_str()) != 0)
      fail(path, std::string("cannot be written: ") + std::strerror(errno));
  } catch (...) {
    unlink(part.c_str());
    throw;
  }
}

}  // namespace ris
