// Stands in for CUDA's header of this name when kernels and backend/cuda are compiled as plain C++ to run on the CPU
// (tests/cuda_emulation/README.md). Only what Tandem uses is here.
#pragma once

#define TANDEM_CUDA_EMULATION 1

#include "cuda_emulation/language.h"
// in this order
#include "cuda_emulation/runtime_api.h"
// in this order
#include "cuda_emulation/device.h"
#include "cuda_emulation/ptx.h"
