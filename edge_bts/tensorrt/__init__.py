"""TensorRT engines: built from a bundle on the device that runs them, kept in a checked cache.

An engine is native code for one GPU, one TensorRT, one driver: it never travels, the bundle does.
The folder belongs to the core and not to ``edge_bts.export``, because both `edge-bts build` and
`edge-bts run` need it on a device that has no torch and no onnx. TensorRT and CUDA are imported
inside the functions that use them.
"""
