"""From a checkpoint to a bundle: fold, quantize, ONNX, OpenVINO, parity.

``pipeline.export`` does it all; each step is a module that can be used alone. Needs the extras
``export`` and ``train``.
"""
