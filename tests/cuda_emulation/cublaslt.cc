#include "cublasLt.h"

#include <cstring>
#include <vector>

#include "settings.h"

struct cublasLtContext {};
struct cublasLtMatmulDescOpaque_t {
  cublasComputeType_t compute;
  cudaDataType scale;
  cublasLtPointerMode_t pointers = CUBLASLT_POINTER_MODE_HOST;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  cublasOperation_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N;
};
struct cublasLtMatrixLayoutOpaque_t {
  cudaDataType type;
  uint64_t rows, columns;
  int64_t ld;
  cublasLtOrder_t order = CUBLASLT_ORDER_COL;
  int32_t batches = 1;
  int64_t stride = 0;

  int64_t Offset(int64_t row, int64_t column) const {
    return order == CUBLASLT_ORDER_COL ? row + column * ld : row * ld + column;
  }
  bool Sane() const {
    const auto least = static_cast<int64_t>(order == CUBLASLT_ORDER_COL ? rows : columns);
    return (type == CUDA_R_32F || type == CUDA_R_16BF) && ld >= least && batches >= 1;
  }
};
struct cublasLtMatmulPreferenceOpaque_t {
  uint64_t workspace_bytes = 0;
  uint32_t alignment[4] = {256, 256, 256, 256};  // of A, B, C, D: cuBLASLt's default
};

namespace {

template <typename T>
cublasStatus_t Set(T& member, const void* value, size_t bytes) {
  if (bytes != sizeof(T)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&member, value, sizeof(T));
  return CUBLAS_STATUS_SUCCESS;
}

float Load(const void* data, cudaDataType type, int64_t at) {
  return type == CUDA_R_32F ? static_cast<const float*>(data)[at]
                            : static_cast<float>(static_cast<const __nv_bfloat16*>(data)[at]);
}
void Store(void* data, cudaDataType type, int64_t at, float value) {
  if (type == CUDA_R_32F) {
    static_cast<float*>(data)[at] = value;
  } else {
    static_cast<__nv_bfloat16*>(data)[at] = __float2bfloat16(value);
  }
}
template <typename T>
T* Advance(T* data, const cublasLtMatrixLayoutOpaque_t& layout, int batch) {
  using Byte = std::conditional_t<std::is_const_v<T>, const char, char>;
  return reinterpret_cast<Byte*>(data) + batch * layout.stride * (layout.type == CUDA_R_32F ? 4 : 2);
}

struct Product {
  cublasLtMatmulDescOpaque_t desc;
  cublasLtMatrixLayoutOpaque_t a, b, c, d;
  float alpha, beta;
  int64_t m() const { return static_cast<int64_t>(d.rows); }
  int64_t n() const { return static_cast<int64_t>(d.columns); }
  int64_t k() const { return static_cast<int64_t>(desc.transpose_a == CUBLAS_OP_N ? a.columns : a.rows); }
};

// The operand as f32 with k innermost: op(A) by rows, op(B) by columns.
std::vector<float> Unpack(const void* data, const cublasLtMatrixLayoutOpaque_t& layout, int64_t outer, int64_t k,
                          bool k_is_row) {
  std::vector<float> values(outer * k);
  for (int64_t i = 0; i < outer; ++i) {
    for (int64_t j = 0; j < k; ++j) {
      values[i * k + j] = Load(data, layout.type, k_is_row ? layout.Offset(j, i) : layout.Offset(i, j));
    }
  }
  return values;
}

void Run(const Product& p, const void* a, const void* b, const void* c, void* d) {
  const int64_t m = p.m(), n = p.n(), k = p.k();
  const std::vector<float> left = Unpack(a, p.a, m, k, p.desc.transpose_a != CUBLAS_OP_N);
  const std::vector<float> right = Unpack(b, p.b, n, k, p.desc.transpose_b == CUBLAS_OP_N);
  constexpr int kLanes = 16;  // partial sums that the compiler keeps in vectors
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < m; ++i) {
      const float *x = &left[i * k], *y = &right[j * k];
      float partial[kLanes] = {};
      int64_t at = 0;
      for (; at + kLanes <= k; at += kLanes) {
        for (int lane = 0; lane < kLanes; ++lane) partial[lane] += x[at + lane] * y[at + lane];
      }
      float sum = 0;
      for (; at < k; ++at) sum += x[at] * y[at];
      for (const float value : partial) sum += value;
      sum *= p.alpha;
      if (p.beta != 0) sum += p.beta * Load(c, p.c.type, p.c.Offset(i, j));
      Store(d, p.d.type, p.d.Offset(i, j), sum);
    }
  }
}

cublasStatus_t Check(const Product& p) {
  const bool rows = p.desc.transpose_a == CUBLAS_OP_N, columns = p.desc.transpose_b == CUBLAS_OP_N;
  const bool shapes = (rows ? p.a.rows : p.a.columns) == p.d.rows &&
                      (columns ? p.b.columns : p.b.rows) == p.d.columns &&
                      (columns ? p.b.rows : p.b.columns) == static_cast<uint64_t>(p.k()) && p.c.rows == p.d.rows &&
                      p.c.columns == p.d.columns;
  const bool batches = p.a.batches == p.d.batches && p.b.batches == p.d.batches && p.c.batches == p.d.batches;
  if (!shapes || !batches || !p.a.Sane() || !p.b.Sane() || !p.c.Sane() || !p.d.Sane())
    return CUBLAS_STATUS_INVALID_VALUE;
  // As cuBLASLt's table of types: A and B alike, D like C, f32 products into f32 only.
  const bool types =
      p.a.type == p.b.type && p.c.type == p.d.type && (p.a.type == CUDA_R_16BF || p.d.type == CUDA_R_32F);
  const bool known = p.desc.scale == CUDA_R_32F && p.desc.epilogue == CUBLASLT_EPILOGUE_DEFAULT;
  return types && known ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

}  // namespace

const char* cublasLtGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
    default:
      return "another cuBLAS status";
  }
}
const char* cublasGetStatusString(cublasStatus_t status) {
  return cublasLtGetStatusString(status);
}
size_t cublasLtGetVersion() {
  return 130000;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = new cublasLtContext;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* desc, cublasComputeType_t compute, cudaDataType scale) {
  *desc = new cublasLtMatmulDescOpaque_t{compute, scale};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
  delete desc;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_COMPUTE_TYPE:
      return Set(desc->compute, value, bytes);
    case CUBLASLT_MATMUL_DESC_SCALE_TYPE:
      return Set(desc->scale, value, bytes);
    case CUBLASLT_MATMUL_DESC_POINTER_MODE:
      return Set(desc->pointers, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return Set(desc->transpose_a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return Set(desc->transpose_b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return Set(desc->epilogue, value, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, uint64_t rows,
                                          uint64_t columns, int64_t ld) {
  *layout = new cublasLtMatrixLayoutOpaque_t{type, rows, columns, ld};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete layout;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                size_t bytes) {
  switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE:
      return Set(layout->type, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ORDER:
      return Set(layout->order, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ROWS:
      return Set(layout->rows, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_COLS:
      return Set(layout->columns, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_LD:
      return Set(layout->ld, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
      return Set(layout->batches, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
      return Set(layout->stride, value, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = new cublasLtMatmulPreferenceOpaque_t;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    size_t bytes) {
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return Set(preference->workspace_bytes, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return Set(preference->alignment[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value, bytes);
    default:
      return CUBLAS_STATUS_SUCCESS;
  }
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t*,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute, void* value,
                                                    size_t bytes, size_t* written) {
  if (bytes < sizeof(uint32_t)) return CUBLAS_STATUS_INVALID_VALUE;
  const uint32_t answer = attribute == CUBLASLT_ALGO_CONFIG_SPLITK_NUM ? 1 : 0;
  std::memcpy(value, &answer, sizeof(answer));
  if (written != nullptr) *written = sizeof(answer);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                              cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference,
                                              int wanted, cublasLtMatmulHeuristicResult_t* results, int* found) {
  *found = 0;
  if (const cublasStatus_t status = Check({*desc, *a, *b, *c, *d, 1, 0}); status != CUBLAS_STATUS_SUCCESS)
    return status;
  *found = wanted < 2 ? wanted : 2;  // two, of which any is right
  for (int i = 0; i < *found; ++i) {
    results[i] = {.algo = {{static_cast<uint64_t>(i)}}, .wavesCount = 1};
    // An algorithm holds for operands that are aligned as it was asked for.
    for (int operand = 0; operand < 4; ++operand) results[i].algo.data[1 + operand] = preference->alignment[operand];
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algo, void*, size_t,
                              cudaStream_t stream) {
  if (handle == nullptr || desc->pointers != CUBLASLT_POINTER_MODE_HOST) return CUBLAS_STATUS_INVALID_VALUE;
  const Product product = {*desc,
                           *a_layout,
                           *b_layout,
                           *c_layout,
                           *d_layout,
                           *static_cast<const float*>(alpha),
                           *static_cast<const float*>(beta)};
  if (const cublasStatus_t status = Check(product); status != CUBLAS_STATUS_SUCCESS) return status;
  const void* operands[] = {a, b, c, d};
  for (int i = 0; algo != nullptr && i < 4; ++i) {
    if (reinterpret_cast<uintptr_t>(operands[i]) % algo->data[1 + i] != 0) return CUBLAS_STATUS_INVALID_VALUE;
  }
  const cudaError_t error = cuda_emulation::EnqueueWork(stream, [=] {
    for (int i = 0; i < product.d.batches; ++i) {
      Run(product, Advance(a, product.a, i), Advance(b, product.b, i), Advance(c, product.c, i),
          Advance(d, product.d, i));
    }
    cuda_emulation::CheckGuards("cublasLtMatmul");
  });
  return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
