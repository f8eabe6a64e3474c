"""The fused step: register tiles (gemm), sizes and the choice of algorithm (layout), compiled passes (kernels)."""
