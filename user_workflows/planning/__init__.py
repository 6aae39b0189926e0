"""A workflow before it is stored: pure, without a queue and without a database."""
