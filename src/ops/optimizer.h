// AdamW (Loshchilov and Hutter 2019), in the order of torch.optim.AdamW, and the clipping before it. The norm stays on
// the device: nothing waits for it.
#pragma once

#include "tandem/backend.h"

namespace tandem::ops {

// scale [1] f32: what AdamW multiplies the gradients by; norm[0]: of all together after the division, before clipping,
// good once Finish has returned. Where that is not finite, scale is a NaN.
void ClipGradients(Backend& backend, std::span<const TensorView> gradients, const ClipOptions& options,
                   const TensorView& scale, std::span<double> norm);
// Then zeroes the gradients. Where scale is a NaN nothing changes.
void AdamW(Backend& backend, std::span<const TrainedTensor> tensors, const AdamWStep& step, const TensorView& scale);

}  // namespace tandem::ops
