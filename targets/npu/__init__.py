"""npu: Arm's Ethos-U, simulated. Integers by the TOSA reference model, costs by Arm's compiler Vela; nothing is timed.

A model is quantised to int8 and lowered to TOSA by ExecuTorch once (`lowering`), certified against the reference model
(`certification`), and compiled by Vela for every configuration that is asked for (`vela`). What Vela says of cycles is
an estimate of Arm's, which a rough one of our own stands beside (`roofline`).
"""
