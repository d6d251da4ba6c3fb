// RoIAlign, forward, on a GPU: every pooled value is the sum of one thread over the taps of a bin.
#include "cuda_bins.cuh"

namespace kmrcnn {
namespace {

// See BinLaunch for the roles of blocks and threads.
template <typename T, int kVector>
__global__ void __launch_bounds__(kThreads, kResidentBlocks)
    PoolBins(const __grid_constant__ KmrcnnRoiAlign call, int bins_per_block,
             T* __restrict__ pooled) {
  __shared__ TapTable table;
  const int64_t index = blockIdx.x;
  const int bins = call.pooled_height * call.pooled_width;
  const int first = blockIdx.y * bins_per_block;
  const int end = min(first + bins_per_block, bins);
  const RoITaps taps = TabulateTaps(call, index, &table);
  const T* image = static_cast<const T*>(call.features[taps.roi.level]) +
                   (int64_t)taps.roi.image * taps.height * taps.width * taps.channels;
  const int stride = gridDim.z * blockDim.x * kVector;
  for (int channel = (blockIdx.z * blockDim.x + threadIdx.x) * kVector; channel < call.channels;
       channel += stride) {
    for (int bin = first + threadIdx.y; bin < end; bin += blockDim.y) {
      float sum[kVector] = {};
      VisitTaps(taps, bin, [&](const Cells& cells) {
        float values[kCells][kVector] = {};
#pragma unroll
        for (int i = 0; i < kCells; ++i) {
          if (i >= cells.count) continue;
          LoadVector<kVector>(image + cells.offset[i] + channel, values[i]);
        }
#pragma unroll
        for (int i = 0; i < kCells * kVector; ++i) {
          sum[i % kVector] += cells.weight[i / kVector] * values[i / kVector][i % kVector];
        }
      });
      StoreVector<kVector>(sum, pooled + (index * bins + bin) * call.channels + channel);
    }
  }
}

template <int kVector, typename T>
cudaError_t PoolWithVectors(const KmrcnnRoiAlign& call, T* pooled, void* stream) {
  const BinLaunch launch = DivideBins(call, kVector);
  return Launch(PoolBins<T, kVector>, launch.grid, launch.block, stream, call,
                launch.bins_per_block, pooled);
}

}  // namespace
}  // namespace kmrcnn

int kmrcnn_roi_align_forward_cuda(const KmrcnnRoiAlign* call, void* pooled, void* stream) {
  using namespace kmrcnn;
  if (!HasPooledValues(*call)) return cudaSuccess;
  return DispatchDtype(call->dtype, [&](auto element) {
    using T = decltype(element);
    constexpr int kVector = kVectorBytes / sizeof(T);
    T* values = static_cast<T*>(pooled);
    return CanUseVectors(*call, kVector, pooled) ? PoolWithVectors<kVector>(*call, values, stream)
                                                 : PoolWithVectors<1>(*call, values, stream);
  });
}

const char* kmrcnn_cuda_error_string(int error) {
  return cudaGetErrorString(static_cast<cudaError_t>(error));
}
