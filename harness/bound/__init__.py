"""How near a runtime is to the machine: our own language model in hand-written C, for the same weights and tokens.

A yardstick: it knows one network, and is no runtime to be recommended.
"""
