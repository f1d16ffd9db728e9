"""The recipe's stages, one file each, in order: pretrain, zero. A run is a graph of them (dag.py)."""
