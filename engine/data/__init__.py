"""From text to batches: corpora, downloads, chat data, tokenizer, token files, loader."""
