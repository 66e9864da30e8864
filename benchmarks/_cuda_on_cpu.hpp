// Lets CUDA kernels that keep to the plain language be compiled by a C++ compiler and run, thread
// by thread, on the CPU. A block's threads are fibers: each runs up to the next __syncthreads(),
// then the next one does, which is all that a barrier promises. Slow, and meant for comparisons.
#pragma once

#include <float.h>
#include <math.h>
#include <torch/extension.h>
#include <ucontext.h>

#include <algorithm>
#include <functional>
#include <vector>

#define __global__
#define __device__
#define __shared__ static  // blocks run one after the other
#undef AT_DISPATCH_FLOATING_TYPES_AND_HALF
#define AT_DISPATCH_FLOATING_TYPES_AND_HALF AT_DISPATCH_FLOATING_TYPES
#define AT_CUDA_CHECK(call)
#ifndef AT_ASSERTM
#define AT_ASSERTM TORCH_CHECK
#endif

using at::Tensor;
using phalf = at::Half;
using std::max;
using std::min;
using cudaStream_t = int;
using cudaError_t = int;
constexpr int cudaSuccess = 0;
inline int cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(int) { return ""; }

namespace at::cuda {
struct CUDAGuard {
  explicit CUDAGuard(c10::Device) {}
};
inline int getCurrentCUDAStream() { return 0; }
}  // namespace at::cuda

template <typename T>
T atomicAdd(T* address, T value) {
  T old = *address;
  *address += value;
  return old;
}

namespace on_cpu {
struct Index {
  int x = 0, y = 0, z = 0;
};
constexpr size_t kStack = 64 << 10;
inline ucontext_t scheduler;
inline std::vector<ucontext_t> fibers;
inline std::vector<char> stacks, ended;
inline std::vector<int64_t> shared_memory;
inline std::function<void()> body;
inline int current = 0;
}  // namespace on_cpu

inline on_cpu::Index blockIdx, threadIdx, blockDim, gridDim;

inline void __syncthreads() {
  swapcontext(&on_cpu::fibers[on_cpu::current], &on_cpu::scheduler);
}

namespace on_cpu {
inline void enter() {
  body();
  ended[current] = 1;
}

template <typename... Parameters, typename... Arguments>
void launch(int grid, int block, size_t shared, int, void (*kernel)(Parameters...),
            Arguments... arguments) {
  body = [&] { kernel(arguments...); };
  gridDim.x = grid;
  blockDim.x = block;
  shared_memory.assign(shared / sizeof(int64_t) + 1, 0);
  fibers.resize(std::max<size_t>(fibers.size(), block));
  stacks.resize(std::max<size_t>(stacks.size(), block * kStack));
  for (blockIdx.x = 0; blockIdx.x < grid; ++blockIdx.x) {
    ended.assign(block, 0);
    for (int thread = 0; thread < block; ++thread) {
      getcontext(&fibers[thread]);
      fibers[thread].uc_stack.ss_sp = stacks.data() + thread * kStack;
      fibers[thread].uc_stack.ss_size = kStack;
      fibers[thread].uc_link = &scheduler;
      makecontext(&fibers[thread], enter, 0);
    }
    for (int left = block; left > 0;) {
      for (current = 0; current < block; ++current) {
        if (ended[current]) continue;
        threadIdx.x = current;
        swapcontext(&scheduler, &fibers[current]);
        left -= ended[current];
      }
    }
  }
}
}  // namespace on_cpu
