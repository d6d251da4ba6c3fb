// RoIs grouped by the map that they pool from, in index order, with the pixels that each reaches.
//
// The groups lie one behind the other in a list as long as the RoIs are many.
#ifndef KMRCNN_CUDA_GROUPS_CUH_
#define KMRCNN_CUDA_GROUPS_CUH_

#include <climits>

#include "cuda_common.cuh"

namespace kmrcnn {
namespace {

constexpr int kGroupThreads = 1024;
constexpr int kWarp = 32;

// The pixels that a RoI may reach along one axis, both ends included.
struct Span {
  int first, last;
};

struct Reach {
  RoI roi;
  int index;  // of the RoI in the call
  Span y, x;
};

// The RoIs of one image and one level: reaches[first] .. reaches[end - 1].
struct Group {
  int first, end;
};

// Rounding keeps the order of the samples, so that all of them lie between the first and the last.
__device__ __forceinline__ Span ReachAlong(float start, float bin_size, int samples, int bins,
                                           int length) {
  const Span nothing{0, -1};
  if (samples == 0) return nothing;
  const float a = SamplePoint(start, bin_size, samples, 0, 0);
  const float b = SamplePoint(start, bin_size, samples, bins - 1, samples - 1);
  const float low = fminf(a, b), high = fmaxf(a, b);
  if (!(high >= -1.0f && low <= (float)length)) return nothing;
  const float end = (float)(length - 1);
  return {(int)fminf(fmaxf(low, 0.0f), end), (int)fminf(fmaxf(high, 0.0f) + 1.0f, end)};
}

__device__ __forceinline__ Reach FindReach(const KmrcnnRoiAlign& call, const RoI& roi, int index) {
  return {
      roi, index,
      ReachAlong(roi.top, roi.bin_height, roi.samples_y, call.pooled_height,
                 call.height[roi.level]),
      ReachAlong(roi.left, roi.bin_width, roi.samples_x, call.pooled_width, call.width[roi.level])};
}

__device__ __forceinline__ int GroupOf(const KmrcnnRoiAlign& call, const RoI& roi) {
  return roi.image < 0 ? INT_MAX : roi.level * call.batch + roi.image;
}

// Numbers the threads of a block for which `chosen` holds, in order: -1 for the others.
template <int kBlock>
__device__ __forceinline__ int NumberChosen(bool chosen, int* chosen_in_block) {
  __shared__ int chosen_in_warp[kBlock / kWarp];
  const int lane = ThreadInBlock() % kWarp, warp = ThreadInBlock() / kWarp;
  const unsigned votes = __ballot_sync(0xffffffffu, chosen);
  if (lane == 0) chosen_in_warp[warp] = __popc(votes);
  __syncthreads();
  int before = __popc(votes & ((1u << lane) - 1u)), total = 0;
#pragma unroll
  for (int other = 0; other < kBlock / kWarp; ++other) {
    before += other < warp ? chosen_in_warp[other] : 0;
    total += chosen_in_warp[other];
  }
  __syncthreads();  // the next call writes chosen_in_warp
  *chosen_in_block = total;
  return chosen ? before : -1;
}

// Block: one group. It skips the room of the groups before it, then lists its RoIs.
__global__ void __launch_bounds__(kGroupThreads)
    GroupRoIs(const __grid_constant__ KmrcnnRoiAlign call, Reach* __restrict__ reaches,
              Group* __restrict__ groups) {
  __shared__ int in_earlier_groups;
  const int group = blockIdx.x;
  if (threadIdx.x == 0) in_earlier_groups = 0;
  __syncthreads();
  int earlier = 0;
  for (int64_t index = threadIdx.x; index < call.num_rois; index += kGroupThreads) {
    earlier += GroupOf(call, LocateRoI(call, index)) < group;
  }
  atomicAdd(&in_earlier_groups, earlier);  // of integers: the order does not matter
  __syncthreads();
  int end = in_earlier_groups;
  for (int64_t base = 0; base < call.num_rois; base += kGroupThreads) {
    const int64_t index = base + threadIdx.x;
    RoI roi;
    roi.image = -1;
    if (index < call.num_rois) roi = LocateRoI(call, index);
    int found;
    const int number = NumberChosen<kGroupThreads>(GroupOf(call, roi) == group, &found);
    if (number >= 0) reaches[end + number] = FindReach(call, roi, (int)index);
    end += found;
  }
  if (threadIdx.x == 0) groups[group] = {in_earlier_groups, end};
}

}  // namespace
}  // namespace kmrcnn

#endif  // KMRCNN_CUDA_GROUPS_CUH_
