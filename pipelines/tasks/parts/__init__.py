"""What several tasks share: inputs, answers, encoders."""
