"""The fused step.

Register tiles (`gemm`), the choice of algorithm and its sizes (`layout`), the arrays (`scratch`), what is done to a
block of rows (`passes`), the two algorithms made of it (`stored`, `one_pass`), and those for few rows (`nodes`) and for
few hidden nodes (`thin`).
"""
