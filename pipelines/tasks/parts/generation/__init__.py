"""What families share that write text: decoding, documents and dialogues as tokens, packed sequences, nats, n-grams."""
