"""Who is relevant to whom: judges, judgments, and their TREC files."""
