// RoIAlign on the CPU: all but the innermost loops.
//
// Forward: a unit of work is one row of bins of one RoI. Backward: a unit is one map and a block of
// channels, and it adds up its RoIs in a fixed order, so there are no atomic additions and the
// result has the same bits for any number of threads.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <new>
#include <numeric>
#include <tuple>
#include <vector>

#include "geometry.h"
#include "inner_loops.h"

namespace kmrcnn {
namespace {

// --- instruction sets

int BestInstructionSet() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("f16c")) {
    return 1;
  }
#endif
  return 0;
}

std::atomic<int> instruction_set{-1};  // -1: not asked yet

const InnerLoops& Loops() {
  if (instruction_set < 0) instruction_set = BestInstructionSet();
#if defined(__x86_64__)
  if (instruction_set == 1) return kInnerLoopsAvx2;
#endif
  return kInnerLoopsBase;
}

int64_t ElementSize(const KmrcnnRoiAlign& call) { return call.dtype == KMRCNN_FLOAT32 ? 4 : 2; }

int64_t MapCells(const KmrcnnRoiAlign& call, int level) {
  return (int64_t)call.height[level] * call.width[level];
}

// --- RoIs in the order they are visited

struct PlacedRoI {
  RoI roi;
  int64_t index;
};

// Neighbours follow each other: their cells are still in the cache, which matters more than all
// arithmetic. Padding comes last. Equal places keep the order of the boxes.
std::vector<PlacedRoI> PlaceRoIs(const KmrcnnRoiAlign& call) {
  constexpr float kBand = 16;  // rows of cells walked from left to right
  std::vector<PlacedRoI> placed(call.num_rois);
  for (int64_t i = 0; i < call.num_rois; ++i) placed[i] = {LocateRoI(call, i), i};
  const auto place = [&](const PlacedRoI& p) {
    const float y = p.roi.top + 0.5f * call.pooled_height * p.roi.bin_height;
    const float x = p.roi.left + 0.5f * call.pooled_width * p.roi.bin_width;
    return std::make_tuple(p.roi.image < 0, p.roi.level, p.roi.image, floorf(y / kBand), x,
                           p.index);
  };
  std::sort(placed.begin(), placed.end(),
            [&](const PlacedRoI& a, const PlacedRoI& b) { return place(a) < place(b); });
  return placed;
}

// --- the cells of a bin

// Taps of one RoI: all its columns, and its rows one at a time.
class BinCells {
 public:
  BinCells(const KmrcnnRoiAlign& call) : call_(call), columns_(call.pooled_width) {}

  void SetRoI(const RoI& roi) {
    roi_ = roi;
    row_.resize(2 * roi.samples_y);
    for (int bin = 0; bin < call_.pooled_width; ++bin) {
      columns_[bin].resize(2 * roi.samples_x);
      const int count = MergedTaps(roi.left, roi.bin_width, roi.samples_x, bin,
                                   call_.width[roi.level], columns_[bin].data());
      columns_[bin].resize(count);
    }
  }

  void SetRow(int bin) {
    row_.resize(2 * roi_.samples_y);
    const int count = MergedTaps(roi_.top, roi_.bin_height, roi_.samples_y, bin,
                                 call_.height[roi_.level], row_.data());
    row_.resize(count);
  }

  // Cells of one bin of the row; their weights make the mean of its samples.
  const std::vector<WeightedCell>& Column(int bin) {
    const std::vector<Tap>& column = columns_[bin];
    cells_.resize(row_.size() * column.size());
    WeightedCell* cell = cells_.data();
    for (const Tap& y : row_) {
      const int64_t start = (int64_t)y.cell * call_.width[roi_.level];
      const float weight = y.weight * roi_.share;
      for (const Tap& x : column) {
        *cell++ = {(start + x.cell) * call_.channels, weight * x.weight};
      }
    }
    return cells_;
  }

 private:
  const KmrcnnRoiAlign& call_;
  RoI roi_;
  std::vector<std::vector<Tap>> columns_;
  std::vector<Tap> row_;
  std::vector<WeightedCell> cells_;
};

// --- forward

struct Forward {
  const KmrcnnRoiAlign& call;
  const std::vector<PlacedRoI>& placed;
  const InnerLoops& loops;
  char* pooled;

  // Rows of bins [begin, end), counted through the placed RoIs.
  static void Run(void* self, int64_t begin, int64_t end) {
    static_cast<Forward*>(self)->Rows(begin, end);
  }

  void Rows(int64_t begin, int64_t end) const {
    const int64_t bin_bytes = call.channels * ElementSize(call);
    const int64_t row_bytes = bin_bytes * call.pooled_width;
    BinCells bins(call);
    int64_t current = -1;
    for (int64_t unit = begin; unit < end; ++unit) {
      const PlacedRoI& at = placed[unit / call.pooled_height];
      const int row = unit % call.pooled_height;
      char* out = pooled + (at.index * call.pooled_height + row) * row_bytes;
      if (at.roi.image < 0) {
        std::memset(out, 0, row_bytes);
        continue;
      }
      if (at.index != current) bins.SetRoI(at.roi);
      current = at.index;
      bins.SetRow(row);
      const int level = at.roi.level;
      const char* map = static_cast<const char*>(call.features[level]) +
                        at.roi.image * MapCells(call, level) * bin_bytes;
      for (int column = 0; column < call.pooled_width; ++column) {
        const std::vector<WeightedCell>& cells = bins.Column(column);
        loops.gather[call.dtype](map, cells.data(), cells.size(), call.channels,
                                 out + column * bin_bytes);
      }
    }
  }
};

// --- backward

// float32 sums of the gradients of one level: the gradient itself, or scratch for a narrower type.
struct Sums {
  float* values = nullptr;
  std::unique_ptr<float[]> owned;
  int64_t count = 0;
};

// Ranges over the elements of all levels, in chunks: fills with zeros, or rounds to the dtype.
struct EachChunk {
  static constexpr int64_t kChunk = 1 << 18;  // elements
  const KmrcnnRoiAlign& call;
  const InnerLoops& loops;
  std::vector<Sums>& sums;
  bool clear;

  static void Run(void* self, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) static_cast<EachChunk*>(self)->Chunk(i);
  }

  int64_t Count() const {
    int64_t chunks = 0;
    for (const Sums& level : sums) chunks += Chunks(level);
    return chunks;
  }

 private:
  static int64_t Chunks(const Sums& level) { return (level.count + kChunk - 1) / kChunk; }

  void Chunk(int64_t index) const {
    int level = 0;
    while (index >= Chunks(sums[level])) index -= Chunks(sums[level++]);
    const int64_t first = index * kChunk;
    const int64_t count = std::min(kChunk, sums[level].count - first);
    float* values = sums[level].values + first;
    if (clear) {
      std::memset(values, 0, count * sizeof(float));
    } else {
      char* gradient = static_cast<char*>(call.gradients[level]);
      loops.narrow[call.dtype](values, gradient + first * ElementSize(call), count);
    }
  }
};

struct Backward {
  // RoIs [first, last) of one map, channels [begin, end).
  struct Unit {
    int64_t first, last;
    int begin, end;
  };
  const KmrcnnRoiAlign& call;
  const std::vector<PlacedRoI>& placed;
  const InnerLoops& loops;
  const char* pooled_gradient;
  std::vector<Sums>& sums;
  std::vector<Unit> units{};
  std::atomic<int64_t> next{0};

  // Each worker takes the next unit until none is left: units differ much in size.
  static void Run(void* self, int64_t /*begin*/, int64_t /*end*/) {
    Backward& work = *static_cast<Backward*>(self);
    for (int64_t i; (i = work.next++) < (int64_t)work.units.size();) work.Do(work.units[i]);
  }

  void Plan(int threads) {
    const std::vector<std::pair<int64_t, int64_t>> groups = Groups();
    int block = 128;  // channels; not less than a cache line
    const auto blocks = [&] { return (call.channels + block - 1) / block; };
    while (block > 16 && (int64_t)groups.size() * blocks() < 4 * threads) block /= 2;
    for (const auto& [first, last] : groups) {
      for (int c = 0; c < call.channels; c += block) {
        units.push_back({first, last, c, std::min(call.channels, c + block)});
      }
    }
    std::stable_sort(units.begin(), units.end(), [](const Unit& a, const Unit& b) {
      return a.last - a.first > b.last - b.first;  // the largest first
    });
  }

 private:
  // Runs of placed RoIs that share a map.
  std::vector<std::pair<int64_t, int64_t>> Groups() const {
    std::vector<std::pair<int64_t, int64_t>> groups;
    const int64_t count = placed.size();
    for (int64_t first = 0, last; first < count && placed[first].roi.image >= 0; first = last) {
      last = first + 1;
      while (last < count && placed[last].roi.image == placed[first].roi.image &&
             placed[last].roi.level == placed[first].roi.level) {
        ++last;
      }
      groups.emplace_back(first, last);
    }
    return groups;
  }

  void Do(const Unit& unit) const {
    const int64_t bin_bytes = call.channels * ElementSize(call);
    const RoI& any = placed[unit.first].roi;
    float* map = sums[any.level].values + any.image * MapCells(call, any.level) * call.channels;
    BinCells bins(call);
    for (int64_t i = unit.first; i < unit.last; ++i) {
      const char* gradient = pooled_gradient + placed[i].index * call.pooled_height *
                                                   call.pooled_width * bin_bytes;
      bins.SetRoI(placed[i].roi);
      for (int row = 0; row < call.pooled_height; ++row) {
        bins.SetRow(row);
        for (int column = 0; column < call.pooled_width; ++column, gradient += bin_bytes) {
          const std::vector<WeightedCell>& cells = bins.Column(column);
          loops.scatter[call.dtype](map, cells.data(), cells.size(), gradient, unit.begin,
                                    unit.end);
        }
      }
    }
  }
};

std::vector<Sums> MakeSums(const KmrcnnRoiAlign& call) {
  std::vector<Sums> sums(call.num_levels);
  for (int level = 0; level < call.num_levels; ++level) {
    Sums& at = sums[level];
    at.count = call.batch * MapCells(call, level) * call.channels;
    if (call.dtype != KMRCNN_FLOAT32) at.owned.reset(new float[at.count]);
    at.values = at.owned ? at.owned.get() : static_cast<float*>(call.gradients[level]);
  }
  return sums;
}

bool KnownDtype(const KmrcnnRoiAlign& call) {
  return call.dtype >= KMRCNN_FLOAT32 && call.dtype <= KMRCNN_BFLOAT16;
}

}  // namespace
}  // namespace kmrcnn

using namespace kmrcnn;

int kmrcnn_cpu_isa(int wanted) {
  if (wanted <= BestInstructionSet()) {
    instruction_set = wanted < 0 ? BestInstructionSet() : wanted;
  }
  Loops();
  return instruction_set;
}

int kmrcnn_roi_align_forward_cpu(const KmrcnnRoiAlign* call, void* pooled,
                                 KmrcnnParallelFor parallel_for, void* pool) try {
  if (!KnownDtype(*call)) return KMRCNN_BAD_DTYPE;
  const std::vector<PlacedRoI> placed = PlaceRoIs(*call);
  Forward forward{*call, placed, Loops(), static_cast<char*>(pooled)};
  const int64_t rows = (int64_t)call->num_rois * call->pooled_height;
  const int64_t cost = 4 * (int64_t)call->pooled_width * call->channels;  // cycles
  if (rows > 0) parallel_for(pool, rows, cost, &Forward::Run, &forward);
  return KMRCNN_OK;
} catch (const std::bad_alloc&) {
  return KMRCNN_OUT_OF_MEMORY;
}

int kmrcnn_roi_align_backward_cpu(const KmrcnnRoiAlign* call, const void* pooled_gradient,
                                  KmrcnnParallelFor parallel_for, void* pool, int threads) try {
  if (!KnownDtype(*call)) return KMRCNN_BAD_DTYPE;
  const std::vector<PlacedRoI> placed = PlaceRoIs(*call);
  std::vector<Sums> sums = MakeSums(*call);
  EachChunk chunks{*call, Loops(), sums, /*clear=*/true};
  if (chunks.Count() > 0) {
    parallel_for(pool, chunks.Count(), EachChunk::kChunk, &EachChunk::Run, &chunks);
  }
  Backward backward{*call, placed, Loops(), static_cast<const char*>(pooled_gradient), sums};
  backward.Plan(threads);
  const int64_t workers = std::min<int64_t>(threads, backward.units.size());
  const int64_t much = (int64_t)1 << 40;  // cycles: every worker is worth a thread
  if (workers > 0) parallel_for(pool, workers, much, &Backward::Run, &backward);
  if (call->dtype != KMRCNN_FLOAT32 && chunks.Count() > 0) {
    chunks.clear = false;
    parallel_for(pool, chunks.Count(), EachChunk::kChunk, &EachChunk::Run, &chunks);
  }
  return KMRCNN_OK;
} catch (const std::bad_alloc&) {
  return KMRCNN_OUT_OF_MEMORY;
}
