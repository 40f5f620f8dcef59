#include "ops/attention.h"

#include "ops/op_test.h"

namespace tandem::optest {
namespace {

constexpr int kTokens = 100;

// One sequence of kTokens over a pool that starts out as NaNs, 2 KV heads.
class AttentionTest : public OpTest {
 protected:
  struct Input {
    Input(Backend& backend, const Case& c)
        : c(c),
          pool(backend, c, 1),
          rows(backend.ActivationDType(c.dtype)),
          q(backend, {c.m, static_cast<int64_t>(c.num_heads()) * c.head_dim}, rows),
          k(backend, {c.context(), static_cast<int64_t>(c.num_kv_heads) * c.head_dim}, rows),
          v(backend, k.view().shape, rows) {
      q.Write(RandomFloats(2, q.view().shape.num_elements()));
      k.Write(RandomFloats(3, k.view().shape.num_elements()));
      v.Write(RandomFloats(4, v.view().shape.num_elements()));
    }
    // Rows [first, first + count) of sequence 0, as the first rows of a call.
    SequenceRows Rows(int first, int count) const {
      return {.num_rows = count, .first_position = first, .blocks = pool.rows()[0].blocks};
    }
    Case c;
    TestKvPool pool;
    DType rows;
    GuardedTensor q, k, v;
  };

  static Case OneSequence(int group, DType dtype, int tokens = kTokens, int head_dim = 32) {
    return {.op = Op::kAttention,
            .m = tokens,
            .num_kv_heads = 2,
            .group = group,
            .head_dim = head_dim,
            .sequences = {{0, tokens}},
            .dtype = dtype};
  }

  struct Output {
    std::vector<float> out, lse;
  };
  // Prefill in the chunks between boundaries; each chunk's keys and values come just before its attention.
  Output Prefill(const Case& c, const std::vector<int>& boundaries) {
    Input in(backend(), c);
    GuardedTensor out(backend(), in.q.view().shape, in.rows), lse(backend(), {c.m, c.num_heads()});
    for (size_t i = 1; i < boundaries.size(); ++i) {
      const int first = boundaries[i - 1], count = boundaries[i] - first;
      const SequenceRows rows = in.Rows(first, count);
      ops::AppendKv(backend(), {&rows, 1}, in.k.view().Rows(first, count), in.v.view().Rows(first, count),
                    in.pool.kv());
      ops::Attention(backend(), {&rows, 1}, in.q.view().Rows(first, count), in.pool.kv(), OptionsOf(c),
                     out.view().Rows(first, count), lse.view().Rows(first, count));
    }
    EXPECT_TRUE(out.GuardsIntact() && lse.GuardsIntact());
    return {out.Read(), lse.Read()};
  }

  struct Gradients {
    std::vector<float> dq, dk, dv;
  };
  // Backward in the windows between boundaries, from the last to the first.
  Gradients Backward(const Case& c, const std::vector<int>& boundaries) {
    Input in(backend(), c);
    in.pool.Fill(in.k.view(), in.v.view());
    GuardedTensor out(backend(), in.q.view().shape, in.rows), lse(backend(), {c.m, c.num_heads()}),
        dout(backend(), out.view().shape, in.rows);
    GuardedTensor dq(backend(), out.view().shape, in.rows), dk(backend(), in.k.view().shape),
        dv(backend(), in.k.view().shape);
    ops::Attention(backend(), in.pool.rows(), in.q.view(), in.pool.kv(), OptionsOf(c), out.view(), lse.view());
    dout.Write(RandomFloats(5, dout.view().shape.num_elements()));
    dk.Write(std::vector<float>(dk.view().shape.num_elements()));
    dv.Write(std::vector<float>(dv.view().shape.num_elements()));
    for (size_t i = boundaries.size() - 1; i > 0; --i) {
      const int first = boundaries[i - 1], count = boundaries[i] - first;
      ops::AttentionBackward(backend(), {.first_position = first,
                                         .blocks = in.pool.rows()[0].blocks,
                                         .kv = in.pool.kv(),
                                         .options = OptionsOf(c),
                                         .q = in.q.view().Rows(first, count),
                                         .out = out.view().Rows(first, count),
                                         .dout = dout.view().Rows(first, count),
                                         .lse = lse.view().Rows(first, count),
                                         .dq = dq.view().Rows(first, count),
                                         .dk = dk.view(),
                                         .dv = dv.view()});
    }
    EXPECT_TRUE(dq.GuardsIntact() && dk.GuardsIntact() && dv.GuardsIntact());
    return {dq.Read(), dk.Read(), dv.Read()};
  }
};

TEST_P(AttentionTest, MatchesReference) {
  CheckAgainstReference(Op::kAttention);
}

TEST_P(AttentionTest, BackwardMatchesReference) {
  CheckAgainstReference(Op::kAttentionBackward);
}

TEST_P(AttentionTest, BackwardMatchesFiniteDifferences) {
  for (const int group : {1, 2, 4}) {
    // The last rows of a sequence whose first rows belong to an earlier window.
    Case forward = OneSequence(group, DType::kF32, 7, 16);
    forward.window = group == 2 ? 3 : 0;
    forward.soft_cap = group == 1 ? 0.0f : 0.5f;
    forward.m = 4;
    forward.sequences = {{3, 4}};
    Case backward = forward;
    backward.op = Op::kAttentionBackward;
    ExpectGradientsOfFiniteDifferences(backend(), {forward, backward, {{"out", "dout"}}, {"q", "k", "v"}});
  }
}

TEST_P(AttentionTest, ChunkedPrefillIsTheWholePrefill) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    for (const int group : {1, 3, 8}) {
      Case c = OneSequence(group, dtype);
      c.window = group == 3 ? 21 : 0;  // chunks begin and end inside of it
      c.soft_cap = group == 8 ? 0.5f : 0.0f;
      const Output whole = Prefill(c, {0, kTokens});
      for (const std::vector<int>& split : RandomSplits(kTokens, Repetitions(8))) {
        const Output chunked = Prefill(c, split);
        ExpectSame(whole.out, chunked.out, "out", dtype);
        ExpectSame(whole.lse, chunked.lse, "lse", dtype);
      }
    }
  }
}

TEST_P(AttentionTest, TokenByTokenDecodeIsTheWholePrefill) {
  std::vector<int> single(kTokens + 1);
  for (int i = 0; i <= kTokens; ++i) single[i] = i;
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    const Case c = OneSequence(4, dtype);
    ExpectSame(Prefill(c, {0, kTokens}).out, Prefill(c, single).out, "out", dtype);
  }
}

TEST_P(AttentionTest, SequencesDoNotDependOnTheOthersOfTheirCall) {
  Case c = OneSequence(4, DType::kBf16);
  c.sequences = {{0, 17}, {63, 1}, {40, 33}, {0, 1}, {15, 2}};
  c.m = 17 + 1 + 33 + 1 + 2;
  Input in(backend(), c);
  in.pool.Fill(in.k.view(), in.v.view());
  GuardedTensor together(backend(), in.q.view().shape, in.rows), alone(backend(), in.q.view().shape, in.rows);
  ops::Attention(backend(), in.pool.rows(), in.q.view(), in.pool.kv(), OptionsOf(c), together.view(), {});
  for (const SequenceRows& rows : in.pool.rows()) {
    ops::Attention(backend(), {&rows, 1}, in.q.view(), in.pool.kv(), OptionsOf(c), alone.view(), {});
  }
  ExpectSameBits(together.Read(), alone.Read(), "out");
}

TEST_P(AttentionTest, RowsOfNoSequenceStayUntouched) {
  Case c = OneSequence(2, DType::kF32, 10);
  Input in(backend(), c);
  in.pool.Fill(in.k.view(), in.v.view());
  GuardedTensor out(backend(), in.q.view().shape, in.rows);
  out.Write(std::vector<float>(out.view().shape.num_elements(), 7.0f));
  SequenceRows rows = in.Rows(4, 3);
  rows.first_row = 4;
  ops::Attention(backend(), {&rows, 1}, in.q.view(), in.pool.kv(), OptionsOf(c), out.view(), {});
  const std::vector<float> got = out.Read();
  const int64_t width = in.q.view().shape[1];
  for (size_t i = 0; i < got.size(); ++i) {
    const bool written = i / width >= 4 && i / width < 7;
    ASSERT_EQ(got[i] != 7.0f, written) << i;
  }
}

// A softmax in fp32 must not be led astray by scores that exp cannot hold.
TEST_P(AttentionTest, HugeScoresPickTheLargestKey) {
  const Case c = OneSequence(1, DType::kF32, 20, 16);
  Input in(backend(), c);
  std::vector<float> q = RandomFloats(2, 20 * 32), k = RandomFloats(3, 20 * 32);
  for (float& value : q) value = 1e3f;
  for (int64_t i = 0; i < 20 * 32; ++i) k[i] = i / 32 == 5 ? 2e3f : 1e3f;
  in.q.Write(q);
  in.k.Write(k);
  in.pool.Fill(in.k.view(), in.v.view());
  GuardedTensor out(backend(), in.q.view().shape, in.rows);
  const SequenceRows rows = in.Rows(19, 1);
  ops::Attention(backend(), {&rows, 1}, in.q.view().Rows(19, 1), in.pool.kv(), {.scale = 1.0f}, out.view().Rows(19, 1),
                 {});
  const std::vector<float> v = in.v.Read(), got = out.Read();
  for (int d = 0; d < 32; ++d) ASSERT_EQ(got[19 * 32 + d], v[5 * 32 + d]) << d;
}

TEST_P(AttentionTest, BackwardByWindowsFromTheLastIsTheWholeBackward) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    for (const int group : {1, 3, 8}) {
      Case c = OneSequence(group, dtype);
      c.window = group == 3 ? 21 : 0;  // chunks begin and end inside of it
      c.soft_cap = group == 8 ? 0.5f : 0.0f;
      const Gradients whole = Backward(c, {0, kTokens});
      for (const std::vector<int>& split : RandomSplits(kTokens, Repetitions(8))) {
        const Gradients windows = Backward(c, split);
        ExpectSame(whole.dq, windows.dq, "dq", dtype);
        ExpectSame(whole.dk, windows.dk, "dk", dtype);
        ExpectSame(whole.dv, windows.dv, "dv", dtype);
      }
    }
  }
}

TANDEM_ON_EVERY_BACKEND(AttentionTest);

TEST(AttentionBits, SameForAnyThreadCount) {
  ExpectSameBitsForAnyThreadCount(Op::kAttention);
  ExpectSameBitsForAnyThreadCount(Op::kAttentionBackward);
}

}  // namespace
}  // namespace tandem::optest
