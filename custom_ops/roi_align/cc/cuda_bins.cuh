// Kernels that go over the bins of the RoIs: which cells lie below a bin, and who works on it.
//
// A block tabulates the taps of its RoI in shared memory, so that no thread repeats the
// interpolation of another.
#ifndef KMRCNN_CUDA_BINS_CUH_
#define KMRCNN_CUDA_BINS_CUH_

#include "cuda_common.cuh"

namespace kmrcnn {

constexpr int kMaxGridYZ = 65535;    // blocks along y or z of a grid
constexpr int kEnoughBlocks = 1024;  // for every multiprocessor of a large GPU to be busy
constexpr int kTableTaps = 512;      // 14x14 bins of 9x9 samples; larger tables cost L1 cache
constexpr int kTableLines = 128;     // rows and columns of bins together

// One launch over all bins of all RoIs. Block (x, y, z): RoI x, a range of its bins, a slice of the
// channels. Thread (x, y): a vector of channels, every blockDim.y-th bin.
struct BinLaunch {
  dim3 grid, block;
  int bins_per_block;
};

inline BinLaunch DivideBins(const KmrcnnRoiAlign& call, int vector) {
  const int vectors = DivideUp(call.channels, vector);
  const int bins = call.pooled_height * call.pooled_width;
  int lanes = 1;
  while (lanes < kLanes && lanes < vectors) lanes *= 2;
  const int rows = std::min(kThreads / lanes, bins);
  const int slices = std::min(DivideUp(vectors, lanes), kMaxGridYZ);
  // Few RoIs: their bins are split among blocks. Each block pays for a table of taps.
  int rounds = DivideUp(bins, rows);
  while (rounds > 2 &&
         (int64_t)call.num_rois * slices * DivideUp(bins, rounds * rows) < kEnoughBlocks) {
    rounds = DivideUp(rounds, 2);
  }
  rounds = std::max(rounds, DivideUp(bins, kMaxGridYZ * rows));
  const int bins_per_block = rounds * rows;
  return {dim3(call.num_rois, DivideUp(bins, bins_per_block), slices), dim3(lanes, rows),
          bins_per_block};
}

// --- The cells below a bin.

// In shared memory: the taps of every row of bins along y, then of every column along x.
struct TapTable {
  Tap taps[kTableTaps + kCells];
  int counts[kTableLines];
};

struct RoITaps {
  RoI roi;            // without samples where it gives 0: padding, a map without cells
  int rows, columns;  // of bins
  int height, width;  // of the map
  int channels;
  const TapTable* table;
  bool is_tabulated;  // false: more samples than the table holds
};

// All threads of the block call this together.
__device__ __forceinline__ RoITaps TabulateTaps(const KmrcnnRoiAlign& call, int64_t index,
                                                TapTable* table) {
  RoI roi = LocateRoI(call, index);
  const int height = call.height[roi.level], width = call.width[roi.level];
  if (roi.image < 0) roi.image = roi.samples_y = roi.samples_x = 0;
  const int rows = call.pooled_height, columns = call.pooled_width;
  const int64_t row_taps = (int64_t)rows * 2 * roi.samples_y;
  const int64_t column_taps = (int64_t)columns * 2 * roi.samples_x;
  const bool fits = row_taps + column_taps <= kTableTaps && rows + columns <= kTableLines;
  for (int line = ThreadInBlock(); fits && line < rows + columns; line += ThreadsOfBlock()) {
    const int column = line - rows;
    if (column < 0) {
      table->counts[line] = MergedTaps(roi.top, roi.bin_height, roi.samples_y, line, height,
                                       table->taps + line * 2 * roi.samples_y);
    } else {
      table->counts[line] = MergedTaps(roi.left, roi.bin_width, roi.samples_x, column, width,
                                       table->taps + row_taps + column * 2 * roi.samples_x);
    }
  }
  __syncthreads();
  return {roi, rows, columns, height, width, call.channels, table, fits};
}

// Some of the cells below a bin: so many that a thread may load them all before it adds the first.
struct Cells {
  int count;
  int64_t offset[kCells];  // elements from the start of the image
  float weight[kCells];    // 0 from `count` on
};

template <typename Visit>
__device__ __forceinline__ void VisitTabulated(const RoITaps& taps, int row, int column,
                                               Visit visit) {
  const TapTable& table = *taps.table;
  const Tap* along_y = table.taps + row * 2 * taps.roi.samples_y;
  const Tap* along_x =
      table.taps + taps.rows * 2 * taps.roi.samples_y + column * 2 * taps.roi.samples_x;
  const int count_y = table.counts[row];
  const int count_x = table.counts[taps.rows + column];
  for (int y = 0; y < count_y; ++y) {
    const int64_t start = (int64_t)along_y[y].cell * taps.width;
    const float weight = along_y[y].weight * taps.roi.share;
    for (int x = 0; x < count_x; x += kCells) {
      Cells cells{min(count_x - x, kCells), {}, {}};
#pragma unroll
      for (int i = 0; i < kCells; ++i) {
        const Tap& tap = along_x[x + i];  // behind the last one: room that is not used
        cells.offset[i] = (start + tap.cell) * taps.channels;
        cells.weight[i] = i < cells.count ? weight * tap.weight : 0.0f;
      }
      visit(cells);
    }
  }
}

template <typename Visit>
__device__ __forceinline__ void VisitSamples(const RoITaps& taps, int row, int column,
                                             Visit visit) {
  const RoI& roi = taps.roi;
  Neighbours y, x;
  for (int i = 0; i < roi.samples_y; ++i) {
    if (!LocateSample(roi.top, roi.bin_height, roi.samples_y, row, i, taps.height, &y)) continue;
    const int64_t low = (int64_t)y.low * taps.width, high = (int64_t)y.high * taps.width;
    const float low_weight = y.low_weight * roi.share, high_weight = y.high_weight * roi.share;
    for (int j = 0; j < roi.samples_x; ++j) {
      const bool is_on_map =
          LocateSample(roi.left, roi.bin_width, roi.samples_x, column, j, taps.width, &x);
      if (!is_on_map) continue;
      const int64_t channels = taps.channels;
      visit(Cells{4,
                  {(low + x.low) * channels, (low + x.high) * channels, (high + x.low) * channels,
                   (high + x.high) * channels},
                  {low_weight * x.low_weight, low_weight * x.high_weight,
                   high_weight * x.low_weight, high_weight * x.high_weight}});
    }
  }
}

// Calls visit(Cells) until all cells below a bin have been visited.
template <typename Visit>
__device__ __forceinline__ void VisitTaps(const RoITaps& taps, int bin, Visit visit) {
  const int row = bin / taps.columns, column = bin - row * taps.columns;
  if (taps.is_tabulated) {
    VisitTabulated(taps, row, column, visit);
  } else {
    VisitSamples(taps, row, column, visit);
  }
}

}  // namespace kmrcnn

#endif  // KMRCNN_CUDA_BINS_CUH_
