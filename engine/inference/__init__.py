"""Text generation: KV cache, decoding, batching, conversations."""
