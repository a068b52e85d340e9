"""A run's report: what was asked, what was predicted, what came of it, as Markdown and as a page. Never torch."""
