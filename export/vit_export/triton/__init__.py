"""A model repository for NVIDIA's Triton Inference Server, made of an artifact; nothing here needs torch or onnx."""
