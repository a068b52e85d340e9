"""Serves a model: worker processes, the OpenAI API, HTTP."""
