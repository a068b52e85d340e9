"""From text to batches: corpora, tokenizer, token files and the loader."""
