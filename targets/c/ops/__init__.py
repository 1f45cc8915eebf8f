"""One file per operator family. A module holds `OPERATORS`: operator -> lowering, and may hold `CLAMPS`
(operators whose kernels take in a Relu or Clip) and `INTEGER` (operator -> whether it has an integer kernel
for a node with quantized inputs). Its C text lies beside it as `*.c.j2`.
"""
