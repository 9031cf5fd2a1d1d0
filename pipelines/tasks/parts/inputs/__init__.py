"""What tasks share by what comes in: options, what is learnt of it before training, how it becomes tensors."""
