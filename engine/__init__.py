"""Everything in nanosolo that works without a screen: planning, the model, data, training and runs on disk."""

__version__ = "0.1.0"
