"""Source model → verified ONNX variants, and the fastest one that is proven."""
