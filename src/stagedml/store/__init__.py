"""The store: bytes under names, immutable once published. It knows nothing of stages or tensors."""
