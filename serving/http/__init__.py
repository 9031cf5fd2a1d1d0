"""Who may come in, how much, how often; errors as documents."""
