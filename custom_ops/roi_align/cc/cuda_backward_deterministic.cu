// Gradient of RoIAlign on a GPU without atomics: the same bits in every run.
//
// One kernel groups the RoIs by map, in index order. In the other a block owns a tile of a gradient
// map and gathers from the RoIs that reach it: each pixel is summed by one thread in float32, over
// RoIs and bins in order, rounded and written once. Nothing is zeroed first.
#include <climits>

#include "cuda_groups.cuh"

namespace kmrcnn {
namespace {

constexpr int kTile = 8;            // pixels along x, of a thread, and along y, a warp each
constexpr int kVectorChannels = 4;  // of a thread: with 8 pixels, 32 sums in registers
constexpr int kListedLines = 256;   // lines of bins whose weights are in shared memory
constexpr int kMaxLines = kListedLines / 2;  // along one axis, of one RoI

static_assert(kThreads == kLanes * kTile, "a warp for each row of pixels");

// A block's pixels.
struct Tile {
  int level, image, top, left;
};

// Tiles are numbered from the coarsest level: most RoIs reach its few tiles, so they start first.
struct TileNumbers {
  int first[KMRCNN_MAX_LEVELS + 1];
};

// Weights of one line of bins in the lines of pixels of a tile.
struct alignas(16) TileWeights {
  float of[kTile];
};

// The bins of one RoI that reach a tile.
struct TileBins {
  int index;  // of the RoI in the call
  Span rows, columns;
};

// The part of the bins that is worked on, as many as the tables hold.
struct BinRange {
  int first_row, rows, first_column, columns;
};

// What the threads of a block tell each other.
struct GatherTables {
  int hits[kThreads];  // reaches of RoIs that reach the tile
  TileBins bins[kMaxLines];
  TileWeights weights[kListedLines];  // of each RoI its rows, then its columns
};

__device__ __forceinline__ Tile FindTile(const KmrcnnRoiAlign& call, const TileNumbers& numbers,
                                         int number) {
  int rank = 0;
  while (number >= numbers.first[rank + 1]) ++rank;
  const int level = call.num_levels - 1 - rank;
  const int columns = DivideUp(call.width[level], kTile);
  const int rows = DivideUp(call.height[level], kTile);
  const int in_level = number - numbers.first[rank];
  const int row = in_level / columns;
  return {level, row / rows, row % rows * kTile, (in_level - row * columns) * kTile};
}

__device__ __forceinline__ bool Meets(const Span& span, int tile_first) {
  return span.first < tile_first + kTile && span.last >= tile_first;
}

// One line of bins: its weights, times `factor`, in kTile lines of pixels.
__device__ __forceinline__ TileWeights WeighLine(float start, float bin_size, int samples, int bin,
                                                 int length, int tile_first, float factor,
                                                 bool* reaches_tile) {
  TileWeights weights{};
  *reaches_tile = false;
  for (int sample = 0; sample < samples; ++sample) {
    Neighbours at;
    if (!LocateSample(start, bin_size, samples, bin, sample, length, &at)) continue;
#pragma unroll
    for (int i = 0; i < kTile; ++i) {
      const bool is_low = at.low == tile_first + i, is_high = at.high == tile_first + i;
      weights.of[i] += (is_low ? at.low_weight : 0.0f) + (is_high ? at.high_weight : 0.0f);
      *reaches_tile |= is_low || is_high;
    }
  }
#pragma unroll
  for (int i = 0; i < kTile; ++i) weights.of[i] *= factor;
  return weights;
}

// Lists which of reaches[first] .. reaches[end - 1], kThreads at most, reach the tile.
__device__ __forceinline__ int FindHits(const Reach* reaches, int first, int end, const Tile& tile,
                                        int* hits) {
  const int mine = first + ThreadInBlock();
  const bool is_hit =
      mine < end && Meets(reaches[mine].y, tile.top) && Meets(reaches[mine].x, tile.left);
  int found;
  const int number = NumberChosen<kThreads>(is_hit, &found);
  if (number >= 0) hits[number] = mine;
  __syncthreads();
  return found;
}

// For `count` RoIs that reach the tile: the weights of their bins, and which bins have any.
__device__ __forceinline__ void WeighBins(const KmrcnnRoiAlign& call, const Tile& tile,
                                          const BinRange& range, const Reach* reaches,
                                          const int* hits, int count, GatherTables* tables) {
  const int thread = ThreadInBlock(), lines = range.rows + range.columns;
  if (thread < count) {
    tables->bins[thread] = {reaches[hits[thread]].index, {INT_MAX, -1}, {INT_MAX, -1}};
  }
  __syncthreads();
  for (int item = thread; item < count * lines; item += kThreads) {
    const int hit = item / lines, row = item - hit * lines, column = row - range.rows;
    const RoI& roi = reaches[hits[hit]].roi;
    bool reaches_tile;
    if (column < 0) {
      tables->weights[item] =
          WeighLine(roi.top, roi.bin_height, roi.samples_y, range.first_row + row,
                    call.height[tile.level], tile.top, roi.share, &reaches_tile);
    } else {
      tables->weights[item] =
          WeighLine(roi.left, roi.bin_width, roi.samples_x, range.first_column + column,
                    call.width[tile.level], tile.left, 1.0f, &reaches_tile);
    }
    Span* span = column < 0 ? &tables->bins[hit].rows : &tables->bins[hit].columns;
    if (reaches_tile) atomicMin(&span->first, column < 0 ? row : column);
    if (reaches_tile) atomicMax(&span->last, column < 0 ? row : column);
  }
  __syncthreads();
}

template <int kVector>
__device__ __forceinline__ void AddWeighted(const float (&values)[kVector], float row_weight,
                                            const TileWeights& weights,
                                            float (&sums)[kTile][kVector]) {
#pragma unroll
  for (int pixel = 0; pixel < kTile; ++pixel) {
    const float weight = row_weight * weights.of[pixel];
    if (weight == 0.0f) continue;  // an infinite gradient must not reach other pixels
#pragma unroll
    for (int i = 0; i < kVector; ++i) sums[pixel][i] += weight * values[i];
  }
}

// Adds the bins of one RoI to a thread's pixels: one row of the tile, a vector of channels.
template <int kVector, typename T>
__device__ __forceinline__ void AddBins(const KmrcnnRoiAlign& call, const TileBins& bins,
                                        const TileWeights* row_weights,
                                        const TileWeights* column_weights, const T* gradient,
                                        float (&sums)[kTile][kVector]) {
  for (int row = bins.rows.first; row <= bins.rows.last; ++row) {
    const float row_weight = row_weights[row].of[threadIdx.y];
    if (row_weight == 0.0f) continue;  // the same for the whole warp
    for (int column = bins.columns.first; column <= bins.columns.last; column += kCells) {
      const T* from = gradient + ((int64_t)row * call.pooled_width + column) * call.channels;
      const int columns = min(kCells, bins.columns.last - column + 1);
      float values[kCells][kVector] = {};
#pragma unroll
      for (int i = 0; i < kCells; ++i) {
        if (i < columns) LoadVector<kVector>(from + (int64_t)i * call.channels, values[i]);
      }
#pragma unroll
      for (int i = 0; i < kCells; ++i) {
        if (i < columns) AddWeighted(values[i], row_weight, column_weights[column + i], sums);
      }
    }
  }
}

// Adds `count` RoIs to the thread's pixels. Bins that the tables cannot hold come later.
template <int kVector, typename T>
__device__ __forceinline__ void AddRoIs(const KmrcnnRoiAlign& call, const Tile& tile,
                                        const Reach* reaches, const int* hits, int count,
                                        const T* pooled_gradient, int channel, GatherTables* tables,
                                        float (&sums)[kTile][kVector]) {
  const int bins = call.pooled_height * call.pooled_width;
  for (int first_row = 0; first_row < call.pooled_height; first_row += kMaxLines) {
    const int rows = min(kMaxLines, call.pooled_height - first_row);
    for (int first_column = 0; first_column < call.pooled_width; first_column += kMaxLines) {
      const int columns = min(kMaxLines, call.pooled_width - first_column);
      WeighBins(call, tile, {first_row, rows, first_column, columns}, reaches, hits, count, tables);
      const int64_t first_bin = (int64_t)first_row * call.pooled_width + first_column;
      for (int hit = 0; hit < count && channel < call.channels; ++hit) {
        const TileBins& hit_bins = tables->bins[hit];
        const TileWeights* weights = tables->weights + hit * (rows + columns);
        const int64_t bin = (int64_t)hit_bins.index * bins + first_bin;
        AddBins<kVector>(call, hit_bins, weights, weights + rows,
                         pooled_gradient + bin * call.channels + channel, sums);
      }
      __syncthreads();  // the tables are written again
    }
  }
}

template <int kVector, typename T>
__device__ __forceinline__ void StoreRow(const KmrcnnRoiAlign& call, const Tile& tile, int channel,
                                         const float (&sums)[kTile][kVector]) {
  const int y = tile.top + threadIdx.y;
  const int height = call.height[tile.level], width = call.width[tile.level];
  if (y >= height || channel >= call.channels) return;
  const int64_t first = ((int64_t)tile.image * height + y) * width + tile.left;
  T* row = static_cast<T*>(call.gradients[tile.level]) + first * call.channels + channel;
#pragma unroll
  for (int pixel = 0; pixel < kTile; ++pixel) {
    if (tile.left + pixel >= width) return;
    StoreVector<kVector>(sums[pixel], row + (int64_t)pixel * call.channels);
  }
}

// Block: a tile and a slice of the channels. Thread (x, y): a vector of channels, row y of pixels.
template <typename T, int kVector>
__global__ void __launch_bounds__(kThreads, kResidentBlocks)
    GatherTiles(const __grid_constant__ KmrcnnRoiAlign call, const T* __restrict__ pooled_gradient,
                const Reach* __restrict__ reaches, const Group* __restrict__ groups,
                const __grid_constant__ TileNumbers numbers, int slices) {
  __shared__ GatherTables tables;
  const Tile tile = FindTile(call, numbers, blockIdx.x / slices);
  const int channel = (blockIdx.x % slices * kLanes + threadIdx.x) * kVector;
  const int lines = min(call.pooled_height, kMaxLines) + min(call.pooled_width, kMaxLines);
  const int listed_rois = kListedLines / lines;
  const Group group = groups[tile.level * call.batch + tile.image];
  float sums[kTile][kVector] = {};
  for (int first = group.first; first < group.end; first += kThreads) {
    const int found = FindHits(reaches, first, group.end, tile, tables.hits);
    for (int done = 0; done < found; done += listed_rois) {
      AddRoIs<kVector>(call, tile, reaches, tables.hits + done, min(listed_rois, found - done),
                       pooled_gradient, channel, &tables, sums);
    }
  }
  StoreRow<kVector, T>(call, tile, channel, sums);
}

// --- Launches

struct Scratch {
  Reach* reaches;  // (N,)
  Group* groups;   // (levels, B)
};

int64_t ReachBytes(const KmrcnnRoiAlign& call) {
  return AlignUp(call.num_rois * (int64_t)sizeof(Reach));
}

int64_t CountGroups(const KmrcnnRoiAlign& call) { return (int64_t)call.num_levels * call.batch; }

// False: more tiles than an int numbers.
bool NumberTiles(const KmrcnnRoiAlign& call, TileNumbers* numbers) {
  int64_t tiles = 0;
  for (int rank = 0; rank < call.num_levels; ++rank) {
    const int level = call.num_levels - 1 - rank;
    numbers->first[rank] = (int)tiles;
    tiles += (int64_t)DivideUp(call.height[level], kTile) * DivideUp(call.width[level], kTile) *
             call.batch;
    if (tiles > INT_MAX) return false;
  }
  numbers->first[call.num_levels] = (int)tiles;
  return true;
}

template <int kVector, typename T>
cudaError_t Gather(const KmrcnnRoiAlign& call, const T* pooled_gradient, const Scratch& scratch,
                   void* stream) {
  TileNumbers numbers;
  const int slices = DivideUp(call.channels, kLanes * kVector);
  if (!NumberTiles(call, &numbers)) return cudaErrorInvalidValue;
  const int64_t blocks = (int64_t)numbers.first[call.num_levels] * slices;
  if (blocks > INT_MAX) return cudaErrorInvalidValue;
  if (blocks == 0) return cudaSuccess;
  return Launch(GatherTiles<T, kVector>, dim3(blocks), dim3(kLanes, kTile), stream, call,
                pooled_gradient, scratch.reaches, scratch.groups, numbers, slices);
}

}  // namespace

int64_t BackwardDeterministicScratch(const KmrcnnRoiAlign& call) {
  return ReachBytes(call) + CountGroups(call) * (int64_t)sizeof(Group);
}

cudaError_t BackwardDeterministic(const KmrcnnRoiAlign& call, const void* pooled_gradient,
                                  void* scratch, void* stream) {
  const int64_t groups = CountGroups(call);
  if (groups == 0 || !HasPooledValues(call)) return ZeroGradients(call, stream);
  if (groups > INT_MAX) return cudaErrorInvalidValue;
  char* memory = static_cast<char*>(scratch);
  const Scratch parts{reinterpret_cast<Reach*>(memory),
                      reinterpret_cast<Group*>(memory + ReachBytes(call))};
  const cudaError_t error = Launch(GroupRoIs, dim3(groups), dim3(kGroupThreads), stream, call,
                                   parts.reaches, parts.groups);
  if (error != cudaSuccess) return error;
  return DispatchDtype(call.dtype, [&](auto element) {
    using T = decltype(element);
    const T* values = static_cast<const T*>(pooled_gradient);
    return CanUseVectors(call, kVectorChannels, pooled_gradient)
               ? Gather<kVectorChannels>(call, values, parts, stream)
               : Gather<1>(call, values, parts, stream);
  });
}

}  // namespace kmrcnn
