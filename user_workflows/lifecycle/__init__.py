"""The life of stored nodes, from the start of a task to its end. Knows no queue."""
