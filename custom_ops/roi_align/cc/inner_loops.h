// The innermost loops over channels, one table of functions per instruction set.
#ifndef KMRCNN_INNER_LOOPS_H_
#define KMRCNN_INNER_LOOPS_H_

#include <stdint.h>

namespace kmrcnn {

// A cell of a map, by the offset of its first channel in elements, and its weight.
struct WeightedCell {
  int64_t offset;
  float weight;
};

// Each entry is indexed by KmrcnnDtype, the type behind the `void` pointers.
struct InnerLoops {
  // out[c] = sum over cells of weight * map[offset + c], for all channels; sums in float32.
  void (*gather[3])(const void* map, const WeightedCell* cells, int count, int channels, void* out);
  // map[offset + c] += weight * gradient[c], for each cell and begin <= c < end.
  void (*scatter[3])(float* map, const WeightedCell* cells, int count, const void* gradient,
                     int begin, int end);
  // Rounds float32 to the type.
  void (*narrow[3])(const float* from, void* to, int64_t count);
};

extern const InnerLoops kInnerLoopsBase;
#if defined(__x86_64__)
extern const InnerLoops kInnerLoopsAvx2;
#endif

}  // namespace kmrcnn

#endif  // KMRCNN_INNER_LOOPS_H_
