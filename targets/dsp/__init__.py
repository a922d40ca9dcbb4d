"""dsp: int8 in CMSIS-NN's arithmetic, simulated. Integers by ExecuTorch's cortex_m operators, cycles by our own model.

A program is quantised and lowered to the operators that a Cortex-M runs (`lowering`) and run as integers (`integers`).
What an operator has to do (`operators`) costs cycles by a profile's rates (`cycles`, `profile`). Some of those of
`cortex-m55` are fitted to published measurements and checked on others (`anchors`). No cycle was measured here.
"""
