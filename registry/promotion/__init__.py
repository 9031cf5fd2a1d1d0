"""Who is the good one: the gate, the ledger, promotions, questions to a person."""
