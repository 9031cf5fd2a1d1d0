"""What families of language models share: hidden tokens, perplexity, and the counts that it is compared with."""
