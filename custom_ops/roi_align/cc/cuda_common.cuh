// What the CUDA kernels of RoIAlign share: element types, vectors of channels, the taps of a RoI,
// the shape of a launch.
//
// With KMRCNN_EMULATE_CUDA the kernels compile as plain C++ and run on the CPU.
#ifndef KMRCNN_CUDA_COMMON_CUH_
#define KMRCNN_CUDA_COMMON_CUH_

#include <algorithm>
#include <cstdint>

#ifdef KMRCNN_EMULATE_CUDA
#include "cuda_emulation.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace kmrcnn {

template <typename... Parameters, typename... Arguments>
cudaError_t Launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, void* stream,
                   Arguments... arguments) {
  kernel<<<grid, block, 0, static_cast<cudaStream_t>(stream)>>>(arguments...);
  return cudaGetLastError();
}

}  // namespace kmrcnn
#endif

#include "geometry.h"

namespace kmrcnn {

constexpr int kLanes = 32;           // threads along the channels, at most
constexpr int kThreads = 256;        // of a block, at most
constexpr int kResidentBlocks = 3;   // on a multiprocessor: registers for kCells loads at a time
constexpr int kVectorBytes = 16;     // the widest load of a thread
constexpr int kCells = 4;            // that a thread works on at a time
constexpr int kMaxGridYZ = 65535;    // blocks along y or z of a grid
constexpr int kEnoughBlocks = 1024;  // for every multiprocessor of a large GPU to be busy
constexpr int kTableTaps = 512;      // 14x14 bins of 9x9 samples; larger tables cost L1 cache
constexpr int kTableLines = 128;     // rows and columns of bins together

// --- Backwards, for kmrcnn_roi_align_backward_cuda. All gradients are fully written.

cudaError_t BackwardFast(const KmrcnnRoiAlign& call, const void* pooled_gradient, void* scratch,
                         void* stream);
int64_t BackwardFastScratch(const KmrcnnRoiAlign& call);
cudaError_t BackwardDeterministic(const KmrcnnRoiAlign& call, const void* pooled_gradient,
                                  void* scratch, void* stream);
int64_t BackwardDeterministicScratch(const KmrcnnRoiAlign& call);

// --- Elements: sums are float32, whatever the dtype.

__device__ __forceinline__ float ToFloat(float value) { return value; }
__device__ __forceinline__ float ToFloat(__half value) { return __half2float(value); }
__device__ __forceinline__ float ToFloat(__nv_bfloat16 value) { return __bfloat162float(value); }

__device__ __forceinline__ void Round(float value, float* out) { *out = value; }
__device__ __forceinline__ void Round(float value, __half* out) { *out = __float2half_rn(value); }
__device__ __forceinline__ void Round(float value, __nv_bfloat16* out) {
  *out = __float2bfloat16_rn(value);
}

// Neighbouring channels that one instruction loads or stores.
template <typename T, int kVector>
struct alignas(sizeof(T) * kVector) Vector {
  T of[kVector];
};

template <int kVector, typename T>
__device__ __forceinline__ void LoadVector(const T* from, float* values) {
  const Vector<T, kVector> vector = *reinterpret_cast<const Vector<T, kVector>*>(from);
#pragma unroll
  for (int i = 0; i < kVector; ++i) values[i] = ToFloat(vector.of[i]);
}

template <int kVector, typename T>
__device__ __forceinline__ void StoreVector(const float* values, T* to) {
  Vector<T, kVector> vector;
#pragma unroll
  for (int i = 0; i < kVector; ++i) Round(values[i], &vector.of[i]);
  *reinterpret_cast<Vector<T, kVector>*>(to) = vector;
}

// --- The cells below the bins of a RoI.

__device__ __forceinline__ int ThreadInBlock() { return threadIdx.y * blockDim.x + threadIdx.x; }
__device__ __forceinline__ int ThreadsOfBlock() { return blockDim.x * blockDim.y; }

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

// All threads of the block call this together: no lane repeats the interpolation of another.
__device__ __forceinline__ RoITaps TabulateTaps(const KmrcnnRoiAlign& call, int64_t index,
                                                TapTable* table) {
  RoI roi = LocateRoI(call, index);
  const int height = call.height[roi.level], width = call.width[roi.level];
  if (roi.image < 0 || height <= 0 || width <= 0) roi.image = roi.samples_y = roi.samples_x = 0;
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

// --- The shape of a launch.

template <typename Integer>
KMRCNN_INLINE constexpr Integer DivideUp(Integer a, Integer b) {
  return (a + b - 1) / b;
}

constexpr int64_t AlignUp(int64_t bytes) { return DivideUp<int64_t>(bytes, 256) * 256; }

inline bool HasPooledValues(const KmrcnnRoiAlign& call) {
  return call.num_rois > 0 && call.pooled_height > 0 && call.pooled_width > 0 && call.channels > 0;
}

// Elements of the map of one level, all images together.
KMRCNN_INLINE int64_t LevelSize(const KmrcnnRoiAlign& call, int level) {
  return (int64_t)call.batch * call.height[level] * call.width[level] * call.channels;
}

inline cudaError_t Zero(void* memory, int64_t bytes, void* stream) {
  if (bytes == 0) return cudaSuccess;
  return cudaMemsetAsync(memory, 0, bytes, static_cast<cudaStream_t>(stream));
}

inline cudaError_t ZeroGradients(const KmrcnnRoiAlign& call, void* stream) {
  const int element_bytes = call.dtype == KMRCNN_FLOAT32 ? 4 : 2;
  for (int level = 0; level < call.num_levels; ++level) {
    const int64_t bytes = LevelSize(call, level) * element_bytes;
    const cudaError_t error = Zero(call.gradients[level], bytes, stream);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

inline bool IsAligned(const void* pointer, int bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

// Whether each vector of `elements` channels may be loaded at once.
inline bool CanUseVectors(const KmrcnnRoiAlign& call, int elements, const void* pooled) {
  bool can = call.channels % elements == 0 && IsAligned(pooled, kVectorBytes);
  for (int level = 0; level < call.num_levels; ++level) {
    can = can && IsAligned(call.features[level], kVectorBytes) &&
          IsAligned(call.gradients[level], kVectorBytes);
  }
  return can;
}

// Calls function(T{}), T being the type of an element.
template <typename Function>
cudaError_t DispatchDtype(int dtype, Function function) {
  switch (dtype) {
    case KMRCNN_FLOAT32:
      return function(float{});
    case KMRCNN_FLOAT16:
      return function(__half{});
    case KMRCNN_BFLOAT16:
      return function(__nv_bfloat16{});
    default:
      return cudaErrorInvalidValue;
  }
}

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

}  // namespace kmrcnn

#endif  // KMRCNN_CUDA_COMMON_CUH_
