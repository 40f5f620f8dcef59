// The emulator itself: that it computes what CUDA computes, and that it finds the mistakes it is there to find.
#include <cmath>
#include <random>
#include <vector>

#include "cublasLt.h"
#include "emulation.h"
#include "gtest/gtest.h"
#include "test_kernels.h"

namespace cuda_emulation {
namespace {

using tandem::kernels::LaunchConfig;

// Values in device memory, and back.
template <typename T>
class DeviceVector {
 public:
  explicit DeviceVector(const std::vector<T>& values) : size_(values.size()) {
    EXPECT_EQ(cudaMalloc(&data_, size_ * sizeof(T)), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice), cudaSuccess);
  }
  ~DeviceVector() { cudaFree(data_); }
  T* data() { return data_; }
  std::vector<T> Read() const {
    std::vector<T> values(size_);
    EXPECT_EQ(cudaMemcpy(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost), cudaSuccess);
    return values;
  }

 private:
  size_t size_;
  T* data_ = nullptr;
};

std::vector<float> Random(size_t count) {
  std::mt19937 generator(1);
  std::vector<float> values(count);
  for (float& value : values) {  // bf16 holds them exactly
    value = static_cast<float>(static_cast<int>(generator() % 255) - 127) / 128;
  }
  return values;
}

TEST(EmulatedKernelTest, MmaBf16IsTheProduct) {
  const std::vector<float> a = Random(16 * 16), b = Random(16 * 8);
  DeviceVector<float> da(a), db(b), dd(std::vector<float>(16 * 8, 0.5f));
  ASSERT_EQ(LaunchMma(da.data(), db.data(), dd.data(), Product::kBf16), cudaSuccess);
  const std::vector<float> got = dd.Read();
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      float want = 0.5f;
      for (int k = 0; k < 16; ++k) want += a[row * 16 + k] * b[k * 8 + column];
      ASSERT_NEAR(got[row * 8 + column], want, 1e-5) << row << ", " << column;
    }
  }
}

TEST(EmulatedKernelTest, MmaTf32IsTheProduct) {
  const std::vector<float> a = Random(16 * 8), b = Random(8 * 8);
  DeviceVector<float> da(a), db(b), dd(std::vector<float>(16 * 8, 0.5f));
  ASSERT_EQ(LaunchMma(da.data(), db.data(), dd.data(), Product::kTf32), cudaSuccess);
  const std::vector<float> got = dd.Read();
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      float want = 0.5f;
      for (int k = 0; k < 8; ++k) want += a[row * 8 + k] * b[k * 8 + column];
      ASSERT_NEAR(got[row * 8 + column], want, 1e-5) << row << ", " << column;
    }
  }
}

TEST(EmulatedKernelTest, ShufflesVotesAndReductions) {
  DeviceVector<int> failures({-1});
  ASSERT_EQ(LaunchWarpOperations(failures.data()), cudaSuccess);
  EXPECT_EQ(failures.Read()[0], 0);
}

TEST(EmulatedKernelTest, SumOverABlockForEveryOrderOfThreads) {
  std::vector<float> x(256);
  for (int i = 0; i < 256; ++i) x[i] = static_cast<float>(i);
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    SetSeed(seed);
    DeviceVector<float> dx(x), sums(std::vector<float>(2, 0));
    ASSERT_EQ(LaunchBlockSum(dx.data(), sums.data(), Barriers::kAll), cudaSuccess);
    EXPECT_EQ(sums.Read(), std::vector<float>(2, 255 * 256 / 2)) << seed;
  }
}

TEST(EmulatedKernelTest, AMissingBarrierGivesAWrongSum) {
  const std::vector<float> x(256, 1.0f);
  int wrong = 0;
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    SetSeed(seed);
    DeviceVector<float> dx(x), sums(std::vector<float>(2, 0));
    ASSERT_EQ(LaunchBlockSum(dx.data(), sums.data(), Barriers::kMissing), cudaSuccess);
    wrong += sums.Read() != std::vector<float>(2, 256.0f);
  }
  EXPECT_EQ(wrong, 8);
}

TEST(EmulatedKernelTest, AsynchronousCopyArrivesWithTheWait) {
  const std::vector<float> x = Random(128);
  DeviceVector<float> dx(x), dy(std::vector<float>(128, 0));
  ASSERT_EQ(LaunchAsyncCopy(dx.data(), dy.data(), Waits::kAll), cudaSuccess);
  EXPECT_EQ(dy.Read(), x);
  ASSERT_EQ(LaunchAsyncCopy(dx.data(), dy.data(), Waits::kMissing), cudaSuccess);
  const std::vector<float> early = dy.Read();
  EXPECT_TRUE(std::isnan(early[0]) && std::isnan(early[127]));
}

TEST(EmulatedKernelDeathTest, ABarrierThatNotAllReachIsReported) {
  EXPECT_DEATH(
      {
        LaunchDivergentBarrier();
        cudaDeviceSynchronize();
      },
      "threads of a block are at different barriers, .*test_kernels.cc:[0-9]+");
  EXPECT_DEATH(
      {
        LaunchWarpOperationOfHalfAWarp();
        cudaDeviceSynchronize();
      },
      "threads wait for one another in .*HalfKernel.*test_kernels.cc:[0-9]+");
}

TEST(EmulatedKernelDeathTest, AccessOutsideOfAllocationsIsReported) {
  DeviceVector<float> x(std::vector<float>(3, 0.0f));
  EXPECT_DEATH(
      {
        LaunchWriteAt(x.data() + 3);
        cudaDeviceSynchronize();
      },
      "bytes around an allocation of 12 bytes were written, seen after .*WriteKernel");
  EXPECT_DEATH(
      {
        LaunchWriteAt(x.data() + 64);
        cudaDeviceSynchronize();
      },
      "outside of every allocation.*WriteKernel");
  EXPECT_DEATH(*static_cast<volatile float*>(x.data()) = 1, "the host touched device memory");
  float host = 0;
  EXPECT_DEATH(LaunchWriteAt(&host), "an argument of .*WriteKernel.* is an address of pageable host memory");
  EXPECT_DEATH(LaunchWriteStruct({.x = &host}), "an argument of .*WriteStructKernel.* is an address of pageable host");
}

TEST(EmulatedWarpTest, LdMatrixCountsBanksThatAreMetAgain) {
  DeviceVector<float> sink(std::vector<float>(32));
  const auto conflicts = [&](int stride) {
    const int64_t before = BankConflicts();
    EXPECT_EQ(LaunchLoadRows(sink.data(), stride), cudaSuccess);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    return BankConflicts() - before;
  };
  EXPECT_EQ(conflicts(8), 0);   // eight rows side by side: every bank once
  EXPECT_EQ(conflicts(64), 7);  // rows of 128 bytes: the same banks for all eight
  EXPECT_EQ(conflicts(72), 0);  // padded by 16 bytes
}

TEST(EmulatedRuntimeTest, WorkRunsWhenSomebodyWaits) {
  float* pinned = nullptr;
  ASSERT_EQ(cudaMallocHost(&pinned, sizeof(float)), cudaSuccess);
  DeviceVector<float> x({2.0f});
  cudaStream_t stream = nullptr;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(pinned, x.data(), sizeof(float), cudaMemcpyDeviceToHost, stream), cudaSuccess);
  EXPECT_TRUE(std::isnan(*pinned));
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(*pinned, 2.0f);
  cudaStreamDestroy(stream);
  cudaFreeHost(pinned);
}

TEST(EmulatedRuntimeTest, AnEventOrdersTwoStreams) {
  DeviceVector<float> x({1.0f});
  cudaStream_t first = nullptr, second = nullptr;
  cudaEvent_t event = nullptr;
  ASSERT_EQ(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking), cudaSuccess);
  ASSERT_EQ(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking), cudaSuccess);
  ASSERT_EQ(cudaEventCreate(&event), cudaSuccess);
  ASSERT_EQ(LaunchAdd(x.data(), 4.0f, first), cudaSuccess);
  ASSERT_EQ(cudaEventRecord(event, first), cudaSuccess);
  ASSERT_EQ(cudaStreamWaitEvent(second, event), cudaSuccess);
  ASSERT_EQ(LaunchMultiply(x.data(), 10.0f, second), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(second), cudaSuccess);
  EXPECT_EQ(x.Read()[0], 50.0f);
  cudaEventDestroy(event);
  cudaStreamDestroy(first);
  cudaStreamDestroy(second);
}

TEST(EmulatedRuntimeTest, AGraphRepeatsWhatWasCaptured) {
  DeviceVector<float> x({1.0f});
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  ASSERT_EQ(LaunchAdd(x.data(), 1.0f, stream), cudaSuccess);
  ASSERT_EQ(LaunchMultiply(x.data(), 2.0f, stream), cudaSuccess);
  ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  ASSERT_EQ(cudaGraphInstantiate(&exec, graph), cudaSuccess);
  EXPECT_EQ(x.Read()[0], 1.0f);
  ASSERT_EQ(cudaGraphLaunch(exec, stream), cudaSuccess);
  ASSERT_EQ(cudaGraphLaunch(exec, stream), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(x.Read()[0], 10.0f);
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

TEST(EmulatedRuntimeTest, WaitingSpoilsACapture) {
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
  cudaStreamDestroy(stream);
}

TEST(EmulatedRuntimeTest, AllocatingSpoilsACapture) {
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  void* data = nullptr;
  ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&data, 16), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
  EXPECT_EQ(cudaMalloc(&data, 16), cudaSuccess);
  cudaFree(data);
  cudaStreamDestroy(stream);
  cudaGetLastError();
}

TEST(EmulatedRuntimeTest, AStreamThatJoinsACaptureHasToComeBack) {
  DeviceVector<float> x({1.0f});
  cudaStream_t first = nullptr, second = nullptr;
  cudaEvent_t event = nullptr;
  ASSERT_EQ(cudaStreamCreate(&first), cudaSuccess);
  ASSERT_EQ(cudaStreamCreate(&second), cudaSuccess);
  ASSERT_EQ(cudaEventCreate(&event), cudaSuccess);
  for (const bool comes_back : {false, true}) {
    cudaGraph_t graph = nullptr;
    ASSERT_EQ(cudaStreamBeginCapture(first, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    cudaEventRecord(event, first);
    cudaStreamWaitEvent(second, event, 0);
    ASSERT_EQ(cudaMemsetAsync(x.data(), 0, sizeof(float), second), cudaSuccess);
    if (comes_back) {
      cudaEventRecord(event, second);
      cudaStreamWaitEvent(first, event, 0);
    }
    EXPECT_EQ(cudaStreamEndCapture(first, &graph), comes_back ? cudaSuccess : cudaErrorStreamCaptureUnjoined);
    if (comes_back) cudaGraphDestroy(graph);
  }
  cudaEventDestroy(event);
  cudaStreamDestroy(second);
  cudaStreamDestroy(first);
  cudaGetLastError();
}

TEST(EmulatedRuntimeTest, MemoryEnds) {
  size_t free_bytes = 0, total = 0;
  ASSERT_EQ(cudaMemGetInfo(&free_bytes, &total), cudaSuccess);
  void* data = nullptr;
  EXPECT_EQ(cudaMalloc(&data, total + 1), cudaErrorMemoryAllocation);
  EXPECT_EQ(data, nullptr);
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
}

TEST(EmulatedRuntimeTest, SharedMemoryAboveTheDefaultHasToBeAskedFor) {
  DeviceVector<float> x({1.0f});
  EXPECT_EQ(LaunchAddWithShared(x.data(), 100 * 1024), cudaSuccess);  // Launch asks
  EXPECT_NE(LaunchAddWithShared(x.data(), 164 * 1024), cudaSuccess);
  cudaGetLastError();
}

TEST(EmulatedRuntimeTest, ABrokenDeviceStaysBroken) {
  BreakDevice(cudaErrorIllegalAddress);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaGetLastError(), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaGetLastError(), cudaErrorIllegalAddress);
  BreakDevice(cudaSuccess);
  cudaGetLastError();
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
}

// y[m, n] (+)= x[m, k] w[n, k]^T, all row-major, in cuBLASLt's column-major words.
TEST(EmulatedBlasTest, TransposedProductWithAlphaAndBeta) {
  const int m = 3, n = 5, k = 33;
  const std::vector<float> x = Random(m * k), w = Random(n * k), y(m * n, 2.0f);
  DeviceVector<float> dx(x), dw(w), dy(y);
  cublasLtHandle_t handle = nullptr;
  cublasLtMatmulDesc_t desc = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;
  ASSERT_EQ(cublasLtCreate(&handle), CUBLAS_STATUS_SUCCESS);
  ASSERT_EQ(cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F), CUBLAS_STATUS_SUCCESS);
  const cublasOperation_t transposed = CUBLAS_OP_T;
  cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof(transposed));
  cublasLtMatrixLayoutCreate(&a, CUDA_R_32F, k, n, k);
  cublasLtMatrixLayoutCreate(&b, CUDA_R_32F, k, m, k);
  cublasLtMatrixLayoutCreate(&c, CUDA_R_32F, n, m, n);
  const float alpha = 0.5f, beta = 3.0f;
  ASSERT_EQ(cublasLtMatmul(handle, desc, &alpha, dw.data(), a, dx.data(), b, &beta, dy.data(), c, dy.data(), c, nullptr,
                           nullptr, 0, nullptr),
            CUBLAS_STATUS_SUCCESS);
  const std::vector<float> got = dy.Read();
  for (int row = 0; row < m; ++row) {
    for (int column = 0; column < n; ++column) {
      float want = 0;
      for (int i = 0; i < k; ++i) want += x[row * k + i] * w[column * k + i];
      EXPECT_NEAR(got[row * n + column], alpha * want + beta * 2.0f, 1e-5);
    }
  }
  cublasLtMatrixLayoutDestroy(a);
  cublasLtMatrixLayoutDestroy(b);
  cublasLtMatrixLayoutDestroy(c);
  cublasLtMatmulDescDestroy(desc);
  cublasLtDestroy(handle);
}

}  // namespace
}  // namespace cuda_emulation
