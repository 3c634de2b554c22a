"""What may go wrong with a run, done to it on purpose: scenarios that the tests try once and the command many times."""
