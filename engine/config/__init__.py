"""What a user asks for: settings, their sources, their checks, the stages of a pipeline."""
