#!/usr/bin/env python3
"""The check of the kernels' registers can fail."""
import spills

LOG = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN6tandem7kernels5{name}Ev' for 'sm_80'
ptxas info    : Function properties for _ZN6tandem7kernels5{name}Ev
    {frame} bytes stack frame, {stores} bytes spill stores, {stores} bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 128 bytes smem, 380 bytes cmem[0]
"""


def only(**values):
    (kernel,) = spills.read(LOG.format(**values))
    return kernel


good = only(name="AddKernel", frame=0, stores=0)
assert (good["registers"], good["shared"], good["arch"]) == (32, 128, "sm_80"), good
assert spills.problem(good) is None
assert "spills 16" in spills.problem(only(name="AddKernel", frame=8, stores=8))
assert "local memory" in spills.problem(only(name="AddKernel", frame=8, stores=0))
(cut,) = spills.read("ptxas info : Compiling entry function 'x' for 'sm_80'")
assert "does not say" in spills.problem(cut)
print("spills_test: ok")
