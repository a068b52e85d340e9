"""Serves a model: worker process, OpenAI API, HTTP server."""
