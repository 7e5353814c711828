"""The original networks, written anew from their published code, with its names of modules: what conversion is held to.

Each takes what its original's constructor takes (without dropout, which is idle here) and computes in the dtype of its
weights; sinusoids are float32, as in all originals.
"""
