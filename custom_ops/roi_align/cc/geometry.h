// Where the samples of a RoI lie: the geometry shared by the CPU and the CUDA kernels.
//
// The rule is torchvision's and Detectron2's, in their order of floating-point operations: another
// order moves values near x = 50 by 1e-5. `reference.py` says the same in keras.ops.
#ifndef KMRCNN_GEOMETRY_H_
#define KMRCNN_GEOMETRY_H_

#include <math.h>

#include "roi_align.h"

#if defined(__CUDACC__)
#define KMRCNN_INLINE __host__ __device__ __forceinline__
#else
#define KMRCNN_INLINE inline
#endif

namespace kmrcnn {

// Cells. Coordinates beyond do not matter, and their differences would overflow.
constexpr float kFar = 1e8f;

// A rounded product: a compiler may not fuse it with an addition, so that the CPU and the GPU place
// samples at the same coordinates to the bit.
KMRCNN_INLINE float Times(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  return a * b;  // the host compiles this with -ffp-contract=off
#endif
}

struct RoI {
  int level;
  int image;                   // -1: padding, a coordinate that is not finite, an empty map
  int samples_y, samples_x;    // per bin
  float top, left;             // first corner, in cells of its level
  float bin_height, bin_width;  // cells; negative for an inverted box, if aligned
  float share;                 // of a sample in the mean of its bin
};

// One axis of a sample: two neighbouring cells and their weights.
struct Neighbours {
  int low, high;
  float low_weight, high_weight;
};

// ceil(bin size) samples. A box four times as long as its map, or longer, is sampled more
// coarsely: an absurd box must not loop for ever.
KMRCNN_INLINE int AdaptiveSamples(float bin_size, int length, int bins) {
  const float most = fmaxf(ceilf((float)(4 * (int64_t)length) / (float)bins), 8.0f);
  return (int)fminf(fmaxf(ceilf(bin_size), 0.0f), most);
}

// The finest level whose successor wants larger boxes (Lin et al. 2017, equation 1). Areas are
// compared, no logarithm is taken: every implementation then agrees on every box.
KMRCNN_INLINE int LevelOf(const KmrcnnRoiAlign& call, float x1, float y1, float x2, float y2) {
  const float area = Times(fmaxf(x2 - x1, 0.0f), fmaxf(y2 - y1, 0.0f));
  int level = 0;
  for (int k = 1; k < call.num_levels; ++k) level += area >= call.level_area[k];
  return level;
}

KMRCNN_INLINE float Clip(float v) { return fminf(fmaxf(v, -kFar), kFar); }

KMRCNN_INLINE RoI LocateRoI(const KmrcnnRoiAlign& call, int64_t index) {
  const float* box = call.boxes + index * 4;
  RoI roi;
  roi.level = LevelOf(call, box[0], box[1], box[2], box[3]);
  const float scale = call.scale[roi.level];
  const float x1 = Times(box[0], scale), y1 = Times(box[1], scale);
  const float x2 = Times(box[2], scale), y2 = Times(box[3], scale);
  const bool finite = isfinite(x1) && isfinite(y1) && isfinite(x2) && isfinite(y2);
  const int image = call.batch_indices[index];
  const bool has_cells = call.height[roi.level] > 0 && call.width[roi.level] > 0;
  roi.image = finite && has_cells && image >= 0 && image < call.batch ? image : -1;
  const float shift = call.aligned ? 0.5f : 0.0f;
  roi.left = Clip(x1) - shift;
  roi.top = Clip(y1) - shift;
  float width = Clip(x2) - shift - roi.left, height = Clip(y2) - shift - roi.top;
  if (!call.aligned) {
    width = fmaxf(width, 1.0f);
    height = fmaxf(height, 1.0f);
  }
  roi.bin_width = width / (float)call.pooled_width;
  roi.bin_height = height / (float)call.pooled_height;
  roi.samples_y = roi.samples_x = call.sampling_ratio;
  if (call.sampling_ratio <= 0) {
    roi.samples_y = AdaptiveSamples(roi.bin_height, call.height[roi.level], call.pooled_height);
    roi.samples_x = AdaptiveSamples(roi.bin_width, call.width[roi.level], call.pooled_width);
  }
  const int64_t count = (int64_t)roi.samples_y * roi.samples_x;
  roi.share = 1.0f / (float)(count > 1 ? count : 1);
  return roi;
}

KMRCNN_INLINE float SamplePoint(float start, float bin_size, int samples, int bin, int sample) {
  const float point = start + Times((float)bin, bin_size);
  return point + Times((float)sample + 0.5f, bin_size) / (float)samples;
}

// Sample number `sample` of a bin along one axis. False: it is more than a cell outside the map
// and contributes 0.
KMRCNN_INLINE bool LocateSample(float start, float bin_size, int samples, int bin, int sample,
                                int length, Neighbours* out) {
  float point = SamplePoint(start, bin_size, samples, bin, sample);
  if (!(point >= -1.0f && point <= (float)length)) return false;
  point = fmaxf(point, 0.0f);
  out->low = (int)point;
  if (out->low >= length - 1) {
    out->low = out->high = length - 1;
    out->low_weight = 1.0f;
    out->high_weight = 0.0f;
    return true;
  }
  out->high = out->low + 1;
  out->high_weight = point - (float)out->low;
  out->low_weight = 1.0f - out->high_weight;
  return true;
}

// A cell and its weight along one axis.
struct Tap {
  int cell;
  float weight;
};

// Taps of one bin along one axis, with the weights of equal cells added up: at sampling 2 this
// saves two fifths of all loads. `taps` has room for 2 * samples. Returns their number.
KMRCNN_INLINE int MergedTaps(float start, float bin_size, int samples, int bin, int length,
                             Tap* taps) {
  int n = 0;
  for (int sample = 0; sample < samples; ++sample) {
    Neighbours at;
    if (!LocateSample(start, bin_size, samples, bin, sample, length, &at)) continue;
    // Samples advance in one direction, so only the last two taps can repeat.
    if (n >= 1 && taps[n - 1].cell == at.low) {
      taps[n - 1].weight += at.low_weight;
    } else if (n >= 2 && taps[n - 2].cell == at.low) {
      taps[n - 2].weight += at.low_weight;
    } else {
      taps[n++] = Tap{at.low, at.low_weight};
    }
    if (at.high_weight == 0.0f) continue;
    if (taps[n - 1].cell == at.high) {
      taps[n - 1].weight += at.high_weight;
    } else {
      taps[n++] = Tap{at.high, at.high_weight};
    }
  }
  return n;
}

}  // namespace kmrcnn

#endif  // KMRCNN_GEOMETRY_H_
