"""What families share that write a text from a text: pairs as tokens, the model, how good texts are, simple answers."""
