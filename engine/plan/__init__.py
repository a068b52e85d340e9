"""What a configuration means: parameters, memory, time and cost, in pure Python (never imports torch)."""
