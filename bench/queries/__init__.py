"""What is known of queries and data before anything is measured."""
