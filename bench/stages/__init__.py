"""The flow from a corpus to vectors with their truth, each artifact made once; the entrance is `flow`."""
