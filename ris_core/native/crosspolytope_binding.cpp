// CrosspolytopeIndex for Python: arrays in and out, checks that memory safety needs, the GIL released while it works.
#include "crosspolytope_binding.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "arrays.h"
#include "crosspolytope_index.h"
#include "crosspolytope_paths.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace ris {
namespace {

const char* const kFamilies[] = {"cross_polytope", "hyperplane"};
const char* const kDistances[] = {"euclidean_squared", "cosine", "inner_product"};

template <std::size_t N>
std::uint32_t number_of(const char* const (&names)[N], const std::string& name, const char* what) {
  const auto found = std::find(std::begin(names), std::end(names), name);
  require(found != std::end(names), std::string(what) + " is '" + name + "', which is unknown");
  return static_cast<std::uint32_t>(found - std::begin(names));
}

Base check_base(const Matrix& base, std::int64_t threads) {
  require(base.shape(0) >= 1 && base.shape(0) < (std::size_t{1} << 31), "the base must have 1 to 2^31 - 1 points");
  require(base.shape(1) >= 1 && base.shape(1) < kMaxDimension, "the base must have 1 to 65535 dimensions");
  require(threads >= 1, "threads must be at least 1");
  require_sane(base, "the base's vectors");
  return {base.data(), static_cast<std::int64_t>(base.shape(0)), static_cast<std::int64_t>(base.shape(1))};
}

struct CrosspolytopeSettings {
  std::string family = "cross_polytope";
  std::string distance = "euclidean_squared";
  std::int64_t tables = 1;
  std::int64_t hash_bits = 1;
  std::int64_t rotations = 1;
  std::uint64_t seed = 0;
  std::int64_t hash_dimension = 0;
  std::int64_t sketch_groups = 0;
  std::vector<float> variances;

  // `axes` must outlive what is returned.
  BuildSettings view(const Matrix& axes, std::int64_t dimension) const {
    BuildSettings s;
    s.is_hyperplane = number_of(kFamilies, family, "family") != 0;
    s.distance = static_cast<Distance>(number_of(kDistances, distance, "distance"));
    const std::int64_t lifted = dimension + (s.distance == Distance::kInnerProduct ? 1 : 0);
    const std::int64_t axis_count = axes.shape(0);
    require(tables >= 1 && tables <= kMaxTables, "tables must be 1 to 65536");
    require(hash_bits >= 1 && hash_bits <= kMaxBits, "hash_bits must be 1 to 30");
    require(rotations >= 1 && rotations <= kMaxRotations, "rotations must be 1 to 1024");
    require(axis_count <= lifted, "there must be at most as many axes as dimensions");
    require(axis_count == 0 || static_cast<std::int64_t>(axes.shape(1)) == lifted,
            "axes must have as many values as vectors have dimensions");
    require(static_cast<std::int64_t>(variances.size()) == axis_count, "each axis must have its variance");
    require(hash_dimension >= 0 && hash_dimension <= axis_count, "hash_dimension must be 0 to the number of axes");
    require(sketch_groups >= 0 && sketch_groups <= axis_count, "sketch_groups must be 0 to the number of axes");
    for (std::size_t i = 0; i < axes.size(); ++i)
      require(axes.data()[i] >= -1.001f && axes.data()[i] <= 1.001f, "axes must be orthonormal");
    s.tables = static_cast<std::uint32_t>(tables);
    s.bits = static_cast<std::uint32_t>(hash_bits);
    s.rotations = static_cast<std::uint32_t>(rotations);
    s.seed = seed;
    s.hashed = static_cast<std::uint32_t>(hash_dimension);
    s.groups = static_cast<std::uint32_t>(sketch_groups);
    s.axes = axes.data();
    s.variances = variances.data();
    s.axis_count = static_cast<std::uint32_t>(axis_count);
    return s;
  }
};

// Holds the array, and so the memory that the index points into.
class BoundCrosspolytope {
 public:
  BoundCrosspolytope(Matrix base, const CrosspolytopeSettings& settings, const Matrix& axes, std::int64_t threads,
                     const std::string& path)
      : base_(std::move(base)) {
    const Base view = check_base(base_, threads);
    const BuildSettings build = settings.view(axes, view.dimension);
    nb::gil_scoped_release release;
    index_ = std::make_unique<CrosspolytopeIndex>(view, build, threads, path);
  }

  BoundCrosspolytope(Matrix base, const std::string& file, bool is_mapped, const std::string& path)
      : base_(std::move(base)) {
    const Base view = check_base(base_, 1);
    nb::gil_scoped_release release;
    index_ = std::make_unique<CrosspolytopeIndex>(view, file, is_mapped, path);
  }

  std::unique_ptr<BoundCrosspolytope> extended(Matrix base, std::int64_t threads) const {
    const Base view = check_base(base, threads);
    require(view.dimension == index_->header().dimension && view.n >= index_->header().n,
            "the longer base must have as many dimensions and at least as many points");
    std::unique_ptr<CrosspolytopeIndex> longer;
    {
      nb::gil_scoped_release release;
      longer = std::make_unique<CrosspolytopeIndex>(*index_, view, threads);
    }
    return std::unique_ptr<BoundCrosspolytope>(new BoundCrosspolytope(std::move(base), std::move(longer)));
  }

  nb::tuple search(const Matrix& queries, std::int64_t k, const SearchSettings& settings) const {
    check_query(queries, settings);
    require(k >= 1 && k <= index_->header().n, "k must be 1 to the number of points");
    const std::size_t q = queries.shape(0), columns = k;
    std::vector<std::int64_t> rows(q * columns);
    std::vector<float> distances(q * columns);
    {
      nb::gil_scoped_release release;
      index_->search(queries.data(), q, k, settings, rows.data(), distances.data());
    }
    return nb::make_tuple(to_array(std::move(rows), {q, columns}), to_array(std::move(distances), {q, columns}));
  }

  Array<std::int64_t> candidates(const Matrix& queries, const SearchSettings& settings) const {
    check_query(queries, settings);
    const std::size_t q = queries.shape(0);
    std::vector<std::int64_t> counts(q);
    {
      nb::gil_scoped_release release;
      index_->candidates(queries.data(), q, settings, counts.data());
    }
    return to_array(std::move(counts), {q});
  }

  nb::tuple probes(const Matrix& query, std::int64_t count) const {
    check_query(query, {count, 0, 1});
    require(query.shape(0) == 1, "one query at a time");
    const std::vector<Probe> probes = index_->probes(query.data(), count);
    std::vector<std::int64_t> tables, codes;
    std::vector<float> costs;
    for (const Probe& probe : probes) {
      tables.push_back(probe.table);
      codes.push_back(probe.code);
      costs.push_back(probe.cost);
    }
    const std::size_t n = probes.size();
    return nb::make_tuple(to_array(std::move(tables), {n}), to_array(std::move(codes), {n}),
                          to_array(std::move(costs), {n}));
  }

  Array<std::uint32_t> codes(const Matrix& vectors) const {
    check_query(vectors, {1, 0, 1});
    const std::size_t n = vectors.shape(0), tables = index_->header().tables;
    std::vector<std::uint32_t> codes(n * tables);
    index_->codes(vectors.data(), n, codes.data());
    return to_array(std::move(codes), {n, tables});
  }

  nb::dict settings() const {
    const ImageHeader& header = index_->header();
    nb::dict result;
    result["family"] = kFamilies[header.is_hyperplane];
    result["distance"] = kDistances[header.distance];
    result["tables"] = header.tables;
    result["hash_bits"] = header.bits;
    result["rotations"] = header.rotations;
    result["hash_dimension"] = header.hashed;
    result["sketch"] = header.groups > 0;
    result["seed"] = header.seed;
    return result;
  }

  nb::dict derived() const {
    const HashFunctions& functions = index_->functions();
    nb::dict result;
    result["rotated_dimension"] = functions.size();
    result["hash_functions"] = functions.per_table();
    result["last_dimension"] = functions.function(0, functions.per_table() - 1).dimension;
    result["coordinates"] = index_->header().coordinates;
    result["sketch_groups"] = index_->header().groups;
    return result;
  }

  const CrosspolytopeIndex& index() const { return *index_; }

 private:
  BoundCrosspolytope(Matrix base, std::unique_ptr<CrosspolytopeIndex> index)
      : base_(std::move(base)), index_(std::move(index)) {}

  void check_query(const Matrix& queries, const SearchSettings& settings) const {
    require(static_cast<std::int64_t>(queries.shape(1)) == index_->header().dimension,
            "queries and base differ in their number of dimensions");
    require(settings.probes >= 1, "probes must be at least 1");
    require(settings.rerank >= 0, "rerank must be at least 0");
    require(settings.threads >= 1, "threads must be at least 1");
    require_sane(queries, "the queries");
  }

  Matrix base_;
  std::unique_ptr<CrosspolytopeIndex> index_;
};

}  // namespace

void bind_crosspolytope(nb::module_& m) {
  nb::exception<IndexFileError>(m, "IndexFileError", PyExc_RuntimeError);
  nb::exception<ForeignBaseError>(m, "ForeignBaseError", PyExc_RuntimeError);
  m.def("crosspolytope_paths", &kernel_names, "Names of the compiled paths that this CPU can run, the fastest first.");

  nb::class_<CrosspolytopeSettings>(m, "CrosspolytopeSettings")
      .def(nb::init<>())
      .def_rw("family", &CrosspolytopeSettings::family)
      .def_rw("distance", &CrosspolytopeSettings::distance)
      .def_rw("tables", &CrosspolytopeSettings::tables)
      .def_rw("hash_bits", &CrosspolytopeSettings::hash_bits)
      .def_rw("rotations", &CrosspolytopeSettings::rotations)
      .def_rw("seed", &CrosspolytopeSettings::seed)
      .def_rw("hash_dimension", &CrosspolytopeSettings::hash_dimension)
      .def_rw("sketch_groups", &CrosspolytopeSettings::sketch_groups)
      .def_rw("variances", &CrosspolytopeSettings::variances);

  nb::class_<BoundCrosspolytope>(m, "CrosspolytopeIndex")
      .def(nb::init<Matrix, const CrosspolytopeSettings&, const Matrix&, std::int64_t, const std::string&>(),
           "base"_a.noconvert(), "settings"_a, "axes"_a.noconvert(), "threads"_a = 1, "path"_a = "")
      .def(nb::init<Matrix, const std::string&, bool, const std::string&>(), "base"_a.noconvert(), "file"_a,
           "is_mapped"_a, "path"_a = "", "From a file that save() wrote.")
      .def("extended", &BoundCrosspolytope::extended, "base"_a.noconvert(), "threads"_a = 1,
           "A new index over a longer base that begins with this one's; only the new rows are hashed.")
      .def(
          "search",
          [](const BoundCrosspolytope& self, const Matrix& queries, std::int64_t k, std::int64_t probes,
             std::int64_t rerank, std::int64_t threads) { return self.search(queries, k, {probes, rerank, threads}); },
          "queries"_a.noconvert(), "k"_a, "probes"_a, "rerank"_a = 0, "threads"_a = 1,
          "Rows (q, k) int64, padded by -1, and squared Euclidean distances (q, k) float32, padded by inf.")
      .def(
          "candidates",
          [](const BoundCrosspolytope& self, const Matrix& queries, std::int64_t probes, std::int64_t threads) {
            return self.candidates(queries, {probes, 0, threads});
          },
          "queries"_a.noconvert(), "probes"_a, "threads"_a = 1, "Different rows in the probed buckets, (q,) int64.")
      .def("probes", &BoundCrosspolytope::probes, "query"_a.noconvert(), "count"_a,
           "Tables and codes, int64, and costs of one query's first probes, by rising cost.")
      .def("codes", &BoundCrosspolytope::codes, "vectors"_a.noconvert(), "Codes (n, tables) uint32 of any vectors.")
      .def("save", [](const BoundCrosspolytope& self, const std::string& file) { self.index().save(file); }, "file"_a)
      .def("check_base", [](const BoundCrosspolytope& self) { self.index().check_base(); },
           "Raises ForeignBaseError if a sample of the base's rows has changed.")
      .def("settings", &BoundCrosspolytope::settings)
      .def("derived", &BoundCrosspolytope::derived)
      .def_prop_ro("size_bytes", [](const BoundCrosspolytope& self) { return self.index().size_bytes(); })
      .def_prop_ro("path", [](const BoundCrosspolytope& self) { return self.index().path(); });
}

}  // namespace ris
