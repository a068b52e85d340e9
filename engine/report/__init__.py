"""The report of a run, as Markdown and as a web page: settings, predicted and measured values, results."""
