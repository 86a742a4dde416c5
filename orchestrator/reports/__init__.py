"""From a journal to rows, summaries, files and tables. Nothing here runs a model."""
