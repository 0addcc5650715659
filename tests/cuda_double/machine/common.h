// Precompiled: what most of these sources include anyway, and takes longer to read than they do.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/record_function.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>
