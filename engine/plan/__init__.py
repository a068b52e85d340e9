"""What a configuration means: parameters, memory, time, cost. Pure Python."""
