// Gradient of RoIAlign on a GPU: the choice between the two kernels, and the one with atomics.
//
// Every pooled gradient is added to the cells below its bin, in whatever order the blocks run: two
// runs may differ in the last bits. Half types are summed in float32 and rounded once.
#include <type_traits>

#include "cuda_bins.cuh"

int kmrcnn_roi_align_backward_cuda(const KmrcnnRoiAlign* call, const void* pooled_gradient,
                                   void* scratch, int deterministic, void* stream) {
  return deterministic ? kmrcnn::BackwardDeterministic(*call, pooled_gradient, scratch, stream)
                       : kmrcnn::BackwardFast(*call, pooled_gradient, scratch, stream);
}

int64_t kmrcnn_roi_align_backward_cuda_scratch(const KmrcnnRoiAlign* call, int deterministic) {
  return deterministic ? kmrcnn::BackwardDeterministicScratch(*call)
                       : kmrcnn::BackwardFastScratch(*call);
}

namespace kmrcnn {
namespace {

constexpr int kRoundBlocks = 512;  // of a level, at most

// Where the levels are summed.
struct Sums {
  float* of[KMRCNN_MAX_LEVELS];
};

__device__ __forceinline__ void AtomicAdd4(const float* values, float* to) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  atomicAdd(reinterpret_cast<float4*>(to), make_float4(values[0], values[1], values[2], values[3]));
#else
  for (int i = 0; i < 4; ++i) atomicAdd(to + i, values[i]);
#endif
}

template <int kVector>
__device__ __forceinline__ void AtomicAdd(const float* values, float* to) {
  if constexpr (kVector % 4 == 0) {
#pragma unroll
    for (int i = 0; i < kVector; i += 4) AtomicAdd4(values + i, to + i);
  } else {
#pragma unroll
    for (int i = 0; i < kVector; ++i) atomicAdd(to + i, values[i]);
  }
}

// See BinLaunch for the roles of blocks and threads.
template <typename T, int kVector>
__global__ void __launch_bounds__(kThreads)
    ScatterBins(const __grid_constant__ KmrcnnRoiAlign call, int bins_per_block,
                const T* __restrict__ pooled_gradient, const __grid_constant__ Sums sums) {
  __shared__ TapTable table;
  const int64_t index = blockIdx.x;
  const int bins = call.pooled_height * call.pooled_width;
  const int first = blockIdx.y * bins_per_block;
  const int end = min(first + bins_per_block, bins);
  const RoITaps taps = TabulateTaps(call, index, &table);
  if (taps.roi.samples_y == 0 || taps.roi.samples_x == 0) return;
  float* image =
      sums.of[taps.roi.level] + (int64_t)taps.roi.image * taps.height * taps.width * taps.channels;
  const int stride = gridDim.z * blockDim.x * kVector;
  for (int channel = (blockIdx.z * blockDim.x + threadIdx.x) * kVector; channel < call.channels;
       channel += stride) {
    for (int bin = first + threadIdx.y; bin < end; bin += blockDim.y) {
      float gradient[kVector];
      LoadVector<kVector>(pooled_gradient + (index * bins + bin) * call.channels + channel,
                          gradient);
      VisitTaps(taps, bin, [&](const Cells& cells) {
#pragma unroll
        for (int cell = 0; cell < kCells; ++cell) {
          if (cell >= cells.count) continue;
          float values[kVector];
#pragma unroll
          for (int i = 0; i < kVector; ++i) values[i] = cells.weight[cell] * gradient[i];
          AtomicAdd<kVector>(values, image + cells.offset[cell] + channel);
        }
      });
    }
  }
}

// Block (x, y): level y.
template <typename T, int kVector>
__global__ void __launch_bounds__(kThreads)
    RoundSums(const __grid_constant__ KmrcnnRoiAlign call, const __grid_constant__ Sums sums) {
  const int level = blockIdx.y;
  const int64_t size = LevelSize(call, level);
  T* gradient = static_cast<T*>(call.gradients[level]);
  const int64_t stride = (int64_t)gridDim.x * kThreads * kVector;
  for (int64_t i = ((int64_t)blockIdx.x * kThreads + threadIdx.x) * kVector; i < size;
       i += stride) {
    float values[kVector];
    LoadVector<kVector>(sums.of[level] + i, values);
    StoreVector<kVector>(values, gradient + i);
  }
}

Sums SumsInScratch(const KmrcnnRoiAlign& call, void* scratch) {
  Sums sums{};
  char* memory = static_cast<char*>(scratch);
  for (int level = 0; level < call.num_levels; ++level) {
    sums.of[level] = reinterpret_cast<float*>(memory);
    memory += AlignUp(LevelSize(call, level) * sizeof(float));
  }
  return sums;
}

Sums SumsInGradients(const KmrcnnRoiAlign& call) {
  Sums sums{};
  for (int level = 0; level < call.num_levels; ++level) {
    sums.of[level] = static_cast<float*>(call.gradients[level]);
  }
  return sums;
}

template <int kVector, typename T>
cudaError_t ScatterInto(const Sums& sums, const KmrcnnRoiAlign& call, const T* pooled_gradient,
                        void* stream) {
  const BinLaunch launch = DivideBins(call, kVector);
  return Launch(ScatterBins<T, kVector>, launch.grid, launch.block, stream, call,
                launch.bins_per_block, pooled_gradient, sums);
}

template <int kVector, typename T>
cudaError_t RoundFrom(const Sums& sums, const KmrcnnRoiAlign& call, void* stream) {
  int64_t largest = 0;
  for (int level = 0; level < call.num_levels; ++level) {
    largest = std::max(largest, LevelSize(call, level));
  }
  const int64_t blocks = DivideUp<int64_t>(largest, kThreads * kVector);
  const dim3 grid(std::clamp<int64_t>(blocks, 1, kRoundBlocks), call.num_levels);
  return Launch(RoundSums<T, kVector>, grid, dim3(kThreads), stream, call, sums);
}

template <int kVector, typename T>
cudaError_t ScatterAndRound(const KmrcnnRoiAlign& call, const T* pooled_gradient, void* scratch,
                            void* stream) {
  if constexpr (std::is_same_v<T, float>) {
    const cudaError_t error = ZeroGradients(call, stream);
    if (error != cudaSuccess) return error;
    return ScatterInto<kVector>(SumsInGradients(call), call, pooled_gradient, stream);
  } else {
    const Sums sums = SumsInScratch(call, scratch);
    cudaError_t error = Zero(scratch, BackwardFastScratch(call), stream);
    if (error != cudaSuccess) return error;
    error = ScatterInto<kVector>(sums, call, pooled_gradient, stream);
    if (error != cudaSuccess) return error;
    return RoundFrom<kVector, T>(sums, call, stream);
  }
}

}  // namespace

int64_t BackwardFastScratch(const KmrcnnRoiAlign& call) {
  if (call.dtype == KMRCNN_FLOAT32) return 0;
  int64_t bytes = 0;
  for (int level = 0; level < call.num_levels; ++level) {
    bytes += AlignUp(LevelSize(call, level) * sizeof(float));
  }
  return bytes;
}

cudaError_t BackwardFast(const KmrcnnRoiAlign& call, const void* pooled_gradient, void* scratch,
                         void* stream) {
  if (!HasPooledValues(call)) return ZeroGradients(call, stream);
  return DispatchDtype(call.dtype, [&](auto element) {
    using T = decltype(element);
    constexpr int kVector = kVectorBytes / sizeof(T);
    const T* values = static_cast<const T*>(pooled_gradient);
    return CanUseVectors(call, kVector, pooled_gradient)
               ? ScatterAndRound<kVector>(call, values, scratch, stream)
               : ScatterAndRound<1>(call, values, scratch, stream);
  });
}

}  // namespace kmrcnn
