#include "backend/cuda/matmul.h"

#include <bit>
#include <memory>
#include <numeric>
#include <type_traits>

#include "absl/strings/str_cat.h"

namespace tandem::cuda {
namespace {

constexpr size_t kWorkspaceBytes = size_t{32} << 20;  // what NVIDIA recommends for Hopper
// Deterministic: of the one algorithm for all m. Between decode and prefill.
constexpr int64_t kDeterministicRows = 256;

cudaDataType_t TypeOf(DType type) {
  return type == DType::kF32 ? CUDA_R_32F : CUDA_R_16BF;
}

template <typename Handle, auto kDestroy>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, internal::Destroyer<kDestroy>>;
using Product = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

// The first failure of several calls.
class Statuses {
 public:
  void Add(cublasStatus_t status) {
    if (first_ == CUBLAS_STATUS_SUCCESS) first_ = status;
  }
  cublasStatus_t first() const { return first_; }
  bool ok() const { return first_ == CUBLAS_STATUS_SUCCESS; }

 private:
  cublasStatus_t first_ = CUBLAS_STATUS_SUCCESS;
};

// The library counts in columns: out^T [n, m] = op(b) [n, k] a^T [k, m], where a row-major matrix is its own
// transposed.
struct Problem {
  Product product;
  Layout b, a, out;

  Problem(const MatmulArgs& args, int64_t m, Statuses& statuses) {
    const cublasOperation_t op_b = args.transposed ? CUBLAS_OP_T : CUBLAS_OP_N, op_a = CUBLAS_OP_N;
    const int64_t b_rows = args.transposed ? args.k : args.n, b_columns = args.transposed ? args.n : args.k;
    cublasLtMatmulDesc_t made = nullptr;
    statuses.Add(cublasLtMatmulDescCreate(&made, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    product.reset(made);
    b = MakeLayout(args.type, b_rows, b_columns, statuses);
    a = MakeLayout(args.type, args.k, m, statuses);
    out = MakeLayout(args.out_type, args.n, m, statuses);
    if (!statuses.ok()) return;
    statuses.Add(cublasLtMatmulDescSetAttribute(made, CUBLASLT_MATMUL_DESC_TRANSA, &op_b, sizeof op_b));
    statuses.Add(cublasLtMatmulDescSetAttribute(made, CUBLASLT_MATMUL_DESC_TRANSB, &op_a, sizeof op_a));
  }

  static Layout MakeLayout(DType type, int64_t rows, int64_t columns, Statuses& statuses) {
    cublasLtMatrixLayout_t made = nullptr;
    statuses.Add(cublasLtMatrixLayoutCreate(&made, TypeOf(type), rows, columns, rows));
    return Layout(made);
  }
};

// Bytes that the address of every row is a multiple of, in a tensor that begins where Backend promises: an activation
// is not always an allocation of its own.
uint32_t RowAlignment(int64_t width, DType type) {
  constexpr int64_t kTensorAlignment = 64;
  return static_cast<uint32_t>(std::gcd(width * static_cast<int64_t>(ByteSize(type)), kTensorAlignment));
}

}  // namespace

int64_t MatmulBucket(int64_t m) {
  if (m <= 16) return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(m)));
  const int64_t top = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(m)));
  return m <= top / 4 * 3 ? top / 4 * 3 : top;
}

Matmul::Matmul(Runtime& runtime, bool deterministic)
    : runtime_(runtime), deterministic_(deterministic), created_(cublasLtCreate(&handle_)) {}

Matmul::~Matmul() {
  if (created_ == CUBLAS_STATUS_SUCCESS) cublasLtDestroy(handle_);
}

cublasStatus_t Matmul::Choose(const MatmulArgs& args, int64_t m, cublasLtMatmulAlgo_t& algorithm) {
  Statuses statuses;
  const Problem problem(args, m, statuses);
  cublasLtMatmulPreference_t made = nullptr;
  statuses.Add(cublasLtMatmulPreferenceCreate(&made));
  const Preference preference(made);
  if (!statuses.ok()) return statuses.first();
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    statuses.Add(cublasLtMatmulPreferenceSetAttribute(made, attribute, &value, sizeof value));
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kWorkspaceBytes});
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, uint32_t{Arena::kAlignment});  // b, a weight
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, RowAlignment(args.k, args.type));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, RowAlignment(args.n, args.out_type));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, RowAlignment(args.n, args.out_type));
  if (deterministic_) prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE});
  if (!statuses.ok()) return statuses.first();
  cublasLtMatmulHeuristicResult_t result = {};
  int found = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle_, problem.product.get(), problem.b.get(), problem.a.get(),
                                     problem.out.get(), problem.out.get(), made, 1, &result, &found);
  algorithm = result.algo;
  return status == CUBLAS_STATUS_SUCCESS && found == 0 ? CUBLAS_STATUS_NOT_SUPPORTED : status;
}

cublasStatus_t Matmul::MultiplyAs(const MatmulArgs& args, int64_t bucket, void* workspace, cudaStream_t stream) {
  const Key key(bucket, args.n, args.k, args.type, args.out_type, args.transposed);
  auto found = algorithms_.find(key);
  if (found == algorithms_.end()) {
    cublasLtMatmulAlgo_t algorithm;
    const cublasStatus_t status = Choose(args, bucket, algorithm);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    found = algorithms_.emplace(key, algorithm).first;
  }
  Statuses statuses;
  const Problem problem(args, args.m, statuses);
  if (!statuses.ok()) return statuses.first();
  const float alpha = 1, beta = args.accumulate ? 1 : 0;
  return cublasLtMatmul(handle_, problem.product.get(), &alpha, args.b, problem.b.get(), args.a, problem.a.get(), &beta,
                        args.out, problem.out.get(), args.out, problem.out.get(), &found->second, workspace,
                        kWorkspaceBytes, stream);
}

cublasStatus_t Matmul::Multiply(const MatmulArgs& args, void* workspace, cudaStream_t stream) {
  if (created_ != CUBLAS_STATUS_SUCCESS) return created_;
  if (deterministic_) return MultiplyAs(args, kDeterministicRows, workspace, stream);
  const cublasStatus_t status = MultiplyAs(args, MatmulBucket(args.m), workspace, stream);
  // An algorithm that does not take this m after all: the one for exactly this m.
  return status == CUBLAS_STATUS_NOT_SUPPORTED ? MultiplyAs(args, args.m, workspace, stream) : status;
}

void Matmul::Run(const MatmulArgs& args) {
  if (args.m == 0) return;
  void* const workspace = runtime_.Scratch<char>(kWorkspaceBytes);
  Fingerprint print;
  print.Add(args);
  print.Add(workspace);
  runtime_.Enqueue(print, [&](cudaStream_t stream) {
    const cublasStatus_t status = Multiply(args, workspace, stream);
    if (status != CUBLAS_STATUS_SUCCESS) {
      runtime_.Fail(absl::InternalError(absl::StrCat("cuda: product [", args.m, ", ", args.k, "] x [", args.k, ", ",
                                                     args.n, "]: ", cublasLtGetStatusString(status))));
    }
    return cudaSuccess;
  });
}

}  // namespace tandem::cuda
