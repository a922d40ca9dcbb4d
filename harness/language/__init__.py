"""Text of language models: tokenizers in files, prompts, and what was generated."""
