"""How much better, how sure: what gates and promotions judge."""
